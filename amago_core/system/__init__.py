"""Operating system layer: files, processes, sockets, threads, signals and memory."""
