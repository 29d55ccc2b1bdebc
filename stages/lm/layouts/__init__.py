"""Key layouts of model families: plans that rename and reshape tensors, both ways."""
