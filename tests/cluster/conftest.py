"""What the tests on a cluster share. Without KUBECONFIG they are skipped; with it, what they lack fails them.

KUBECONFIG                                       the cluster
AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, …           the S3 server as this machine reaches it, and its keys
GRISTMILL_TEST_POD_S3_ENDPOINT                   the same server as pods reach it
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.cases.cluster import CHARTS, S3_SECRET, fresh_namespace, helm
from tests.cases.export import one_thread
from tests.cluster.serving.release import Models, Serving, make_models
from tests.cluster.training.case import POOLS, Case

IMAGES = Path(__file__).parents[2] / "build" / "images.json"
POD_ENDPOINT = "GRISTMILL_TEST_POD_S3_ENDPOINT"


@pytest.fixture(scope="session")
def kubeconfig() -> str:
    """Path of the kubeconfig."""
    path = os.environ.get("KUBECONFIG")
    if not path:
        pytest.skip("no cluster: KUBECONFIG is not set (make cluster-test, make kind-test)")
    answer = subprocess.run(["kubectl", "get", "--raw", "/readyz"], capture_output=True, text=True, timeout=60)
    if answer.returncode:
        pytest.fail(f"the cluster of KUBECONFIG={path} does not answer: {answer.stderr.strip()}")
    return path


@pytest.fixture(scope="session")
def images(kubeconfig: str) -> dict[str, str]:
    """References by digest of the images, by name; they must be on the nodes."""
    if not IMAGES.is_file():
        pytest.fail("no images: `make images` builds them")
    built = json.loads(IMAGES.read_text())
    return {name: f"{one['reference'].rpartition(':')[0]}@{one['digest']}" for name, one in built.items()}


@pytest.fixture(scope="session")
def pod_endpoint(kubeconfig: str) -> str:
    """Address of the S3 server as pods reach it."""
    if POD_ENDPOINT not in os.environ or "AWS_ENDPOINT_URL" not in os.environ:
        pytest.fail(f"no S3 server: set AWS_ENDPOINT_URL, the keys, and {POD_ENDPOINT}")
    return os.environ[POD_ENDPOINT]


@pytest.fixture(scope="module")
def namespace(kubeconfig: str) -> Iterator[str]:
    """A fresh namespace that enforces PodSecurity `restricted`."""
    with fresh_namespace("gristmill-test") as name:
        yield name


@pytest.fixture(scope="module")
def s3_secret(namespace: str, pod_endpoint: str) -> str:
    """Name of the Secret with the keys of the S3 server."""
    return S3_SECRET


@pytest.fixture(scope="module")
def store_uri(pod_endpoint: str) -> Iterator[str]:
    """URI of an empty store in a bucket of its own."""
    name = f"gristmill-{os.urandom(4).hex()}"
    bucket = boto3.resource("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]).Bucket(name)
    bucket.create()
    yield f"s3://{name}/store"
    bucket.objects.all().delete()
    bucket.delete()


@pytest.fixture(scope="module")
def case(
    namespace: str, store_uri: str, images: dict[str, str], pod_endpoint: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:
    """A namespace for trainings."""
    folder = tmp_path_factory.mktemp("training")
    (folder / "values.yaml").write_text(POOLS)
    helm("install", "gristmill", str(CHARTS / "gristmill-platform"), "-n", namespace, "-f", str(folder / "values.yaml"),
         "--set", f"s3.endpoint={pod_endpoint}")  # fmt: skip
    repository, _, digest = images["train"].partition("@")
    assert digest
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRISTMILL_CACHE", str(folder / "cache"))
        yield Case(namespace, store_uri, f"{repository}@{digest}", folder)


@pytest.fixture(scope="module")
def models(store_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch, one_thread():
        patch.setenv("GRISTMILL_CACHE", str(folder / "cache"))
        yield make_models(store_uri, folder)


@pytest.fixture(scope="module")
def serving(namespace: str, images: dict[str, str], s3_secret: str, pod_endpoint: str) -> Serving:
    return Serving(namespace, images["triton"], s3_secret, pod_endpoint)


FIGURES = pytest.StashKey[dict[str, str]]()


@pytest.fixture(scope="session")
def record_figure(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Keep a measured figure for the end of the run's output."""
    return request.config.stash.setdefault(FIGURES, {}).__setitem__


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if figures := terminalreporter.config.stash.get(FIGURES, {}):
        terminalreporter.section("figures")
        for name, value in figures.items():
            terminalreporter.write_line(f"{name:50}{value}")


@pytest.hookimpl
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist hands its figures to the process that prints them."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["figures"] = session.config.stash.get(FIGURES, {})


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take a worker's figures."""
    node.config.stash.setdefault(FIGURES, {}).update(getattr(node, "workeroutput", {}).get("figures", {}))
