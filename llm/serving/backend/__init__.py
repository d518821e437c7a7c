"""What runs inside Triton's own Python: copied into the model repository, imports nothing of `llm`."""
