"""Command line ``amago``: one module per command, whose click command is named ``command``."""
