"""Scores of documents: what rules for text are thresholds of, counted in one pass over a buffer."""
