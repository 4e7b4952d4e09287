"""The commands of ``amago``: a module each, its click command called ``command``."""
