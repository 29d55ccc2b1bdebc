"""fairseq checkpoints: read, converted to transformers, proved equal."""
