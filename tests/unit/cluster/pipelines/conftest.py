"""The fixtures of submitted runs."""

from tests.submission_fixtures import api, kfp, no_cluster, pods

__all__ = ["api", "kfp", "no_cluster", "pods"]
