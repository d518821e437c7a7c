"""Kubernetes and Kubeflow: runs submitted to a cluster, and trainings on its pools."""
