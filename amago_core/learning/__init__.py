"""Learning: batches drawn from the replay, one update, the optimizer."""
