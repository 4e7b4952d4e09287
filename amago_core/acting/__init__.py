"""Acting: the agent, the collector that steps environments with it, and evaluation."""
