"""Grow a labelled corpus in rounds, beside a test set that stays as it is."""
