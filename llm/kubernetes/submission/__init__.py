"""Whole pipelines on a cluster: submitted to Kubeflow Pipelines, watched, read and cancelled there."""
