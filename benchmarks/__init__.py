"""Speed and memory, as programs that print tables: ``python -m benchmarks.NAME``."""
