"""Checkpoints of other model families: read, converted by a plan, proved equal."""
