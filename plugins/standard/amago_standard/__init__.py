"""Standard components of in-context agents, a room (subpackage) per kind; listed in ``hooks.py``."""
