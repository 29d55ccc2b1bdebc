"""Train a tokenizer and report on it."""
