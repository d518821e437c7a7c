"""The fixtures of submitted runs."""

from tests.submission_fixtures import api, cluster, kfp, no_cluster, pods

__all__ = ["api", "cluster", "kfp", "no_cluster", "pods"]
