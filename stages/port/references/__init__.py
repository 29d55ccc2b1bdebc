"""Other software's models in plain torch, each in one file that reads the source tensors."""
