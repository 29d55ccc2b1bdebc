"""Tensors in files, described without being loaded, and written as a stream."""
