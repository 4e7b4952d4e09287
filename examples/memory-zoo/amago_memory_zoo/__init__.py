"""Example plugin: a backbone that is not in amago-standard."""
