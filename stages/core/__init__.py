"""Machinery that computes nothing: declarations, references, runner, fingerprints, journal."""
