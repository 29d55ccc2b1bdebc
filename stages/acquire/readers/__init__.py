"""Readers of containers (archives, dumps, exports, catalogues): records out, as Arrow batches."""
