"""Backbones that are not in amago-standard."""
