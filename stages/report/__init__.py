"""One page and the model cards, every number drawn from a tracked file."""
