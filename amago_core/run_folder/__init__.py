"""The folder of a run: checkpoints, weights, resume rules, evaluation, inference, plots."""
