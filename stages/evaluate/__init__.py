"""Scores with a sample count, an interval and a signature."""
