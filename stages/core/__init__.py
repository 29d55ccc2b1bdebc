"""Machinery that computes nothing: declarations, references, the runner, fingerprints, the journal."""
