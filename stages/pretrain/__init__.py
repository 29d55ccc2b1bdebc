"""Pretrain a language model from scratch or go on with one."""
