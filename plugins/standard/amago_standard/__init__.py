"""The parts every in-context agent needs, a room per kind; see ``hooks.py``."""
