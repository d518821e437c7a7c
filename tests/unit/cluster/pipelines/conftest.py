"""The fixtures of submitted runs."""

from tests.cases.submission_fixtures import api, kfp, no_cluster, pods

__all__ = ["api", "kfp", "no_cluster", "pods"]
