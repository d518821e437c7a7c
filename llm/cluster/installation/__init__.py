"""Checks of `helm test` of the platform chart: each module is `python -m llm.cluster.installation.NAME` in a pod."""
