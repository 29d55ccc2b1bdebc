"""Checkpoints in the layout of Meta's LLaMA release."""
