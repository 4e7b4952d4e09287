"""From a spec to objects: environments, networks and what trains them."""
