"""Delta weights: a model as its difference from a base."""
