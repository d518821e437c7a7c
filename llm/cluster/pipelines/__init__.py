"""Whole pipelines on a cluster: submitted to Kubeflow Pipelines, waited for, read and cancelled there."""
