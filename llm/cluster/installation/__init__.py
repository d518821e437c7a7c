"""What `helm test` of the platform chart asks: each module is `python -m llm.cluster.installation.NAME` in a pod."""
