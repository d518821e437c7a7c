"""Triton: its installation, the server, the model repository that it reads, and a client."""
