"""Checkpoints that are in transformers' layout already, whole or in shards."""
