"""The network policies of the platform chart, enforced: a pod reaches what it must, and nothing else.

Needs a network plug-in that enforces policies (the add-on `policies` of the test cluster).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from components.pod import STEP_LABEL
from llm.storage.uri import bucket_and_prefix
from tests.cases.cluster import CHARTS, fresh_namespace, helm, objects
from tests.cases.reach import address, listener, probe, reached
from tests.cluster.serving.release import node_address


@dataclass(frozen=True)
class Neighbours:
    """Namespaces with pods that listen, and their addresses."""

    ours: str
    image: str
    addresses: dict[str, tuple[str, int]]


@pytest.fixture(scope="module")
def neighbours(
    images: dict[str, str], store_uri: str, pod_endpoint: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Neighbours]:
    """The chart in one namespace; another stands for that of Kubeflow Pipelines, a third for another team's."""
    image, values = images["train"], Path(tmp_path_factory.mktemp("values")) / "values.yaml"
    with ExitStack() as stack:
        ours, kfp, team = (stack.enter_context(fresh_namespace(f"gristmill-{who}")) for who in ("ours", "kfp", "team"))
        values.write_text(json.dumps({
            "s3": {"endpoint": pod_endpoint, "bucket": bucket_and_prefix(store_uri)[0]},
            "pipeline": {"kfpNamespaceLabels": {"kubernetes.io/metadata.name": kfp}},
        }))  # fmt: skip
        helm("install", "gristmill", str(CHARTS / "gristmill-platform"), "-n", ours, "-f", str(values))
        listener(kfp, "services", image, 8888, 3306)
        listener(team, "server", image, 8000)
        listener(ours, "stranger", image, 8000)
        listener(ours, "peer", image, 8000, **training_labels(ours))
        services, other, stranger, peer = (
            address(kfp, "services"),
            address(team, "server"),
            address(ours, "stranger"),
            address(ours, "peer"),
        )
        server = pod_endpoint.removeprefix("http://").partition(":")
        yield Neighbours(ours, image, {
            "S3": (server[0], int(server[2])), "API server": ("kubernetes.default.svc", 443),
            "Kubeflow Pipelines": (services, 8888), "its database": (services, 3306), "another team": (other, 8000),
            "a pod beside it": (stranger, 8000), "a rank": (peer, 8000), "outside": (node_address(), 10250),
        })  # fmt: skip


def training_labels(namespace: str) -> dict[str, str]:
    """The labels by which the chart's policies know the pods of the pool `cpu`."""
    policy = next(
        one for one in objects(namespace, "networkpolicies") if one["metadata"]["name"].endswith("training-cpu")
    )
    found: dict[str, str] = policy["spec"]["podSelector"]["matchLabels"]
    return found


STEP = {STEP_LABEL: "ingest"}
OF_A_STEP = {"S3", "API server", "Kubeflow Pipelines"}
OF_A_RANK = {"S3", "a rank"}


@pytest.mark.parametrize("who", ["a step", "a rank", "anybody"])
def test_a_pod_reaches_what_it_must_and_nothing_else(neighbours: Neighbours, who: str) -> None:
    labels = {"a step": STEP, "a rank": training_labels(neighbours.ours), "anybody": {}}[who]
    may_reach = {"a step": OF_A_STEP, "a rank": OF_A_RANK, "anybody": set(neighbours.addresses) - {"a rank"}}[who]
    name = f"probe-{who.rpartition(' ')[2]}"
    probe(neighbours.ours, name, neighbours.image, neighbours.addresses, may_reach, **labels)
    assert reached(neighbours.ours, name) == may_reach


def test_nobody_reaches_a_step(neighbours: Neighbours) -> None:
    listener(neighbours.ours, "listening-step", neighbours.image, 8000, **STEP)
    where = (address(neighbours.ours, "listening-step"), 8000)
    asked = {"a pod beside it": neighbours.addresses["a pod beside it"], "a step": where}
    probe(neighbours.ours, "asker", neighbours.image, asked, {"a pod beside it"})
    assert reached(neighbours.ours, "asker") == {"a pod beside it"}
