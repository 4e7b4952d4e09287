"""What lies below everything: files, processes, sockets, threads, signals and memory."""
