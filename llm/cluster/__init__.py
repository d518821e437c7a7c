"""Clusters: what is said to Kubernetes once, the trainings on its pools, and the pipelines submitted to it."""
