"""Other software's models in plain torch, one file each, reading the source tensors."""
