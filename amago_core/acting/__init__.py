"""Acting: the agent that chooses actions, the rollout collector, the recorder and evaluation."""
