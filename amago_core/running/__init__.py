"""How a run is spread over processes: one that takes turns, or a learner beside collectors."""
