"""Serving: the Triton model repository, the server, and a streaming client."""
