"""Build the objects that a spec names: environments, datasets, networks, objective, collector."""
