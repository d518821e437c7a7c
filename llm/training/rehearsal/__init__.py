"""The real step of a training of any size, on fake tensors and a fake process group: shapes, memory and traffic."""
