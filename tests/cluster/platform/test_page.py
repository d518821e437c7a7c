"""docs/platform.md as its reader follows it: the blocks are cut out of the page and run, with nothing but values of
one's own (section 0) put in their place, and a small model and few steps to the training.

Sections 2 to 5 and 7, in a namespace with PodSecurity `restricted`, network policies and, where the cluster has Kueue,
a quota, a LimitRange and a queue. The images of section 1 are on the nodes already; section 6 needs Kubeflow Pipelines.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest

from llm.config import from_yaml
from llm.runs.event_kinds import Admitted, StepFinished, TrainJobBegun
from llm.runs.events import EventLog, parse_event
from llm.steps import STEPS, open_context, run_step
from llm.storage import open_objects
from tests.cases.cluster import kubectl
from tests.cases.pretrain import SMALL
from tests.cluster.platform.search import TEXTS as IN_THE_POD
from tests.cluster.platform.search import search

pytestmark = pytest.mark.alone  # it trains, exports and serves
PROJECT = Path(__file__).parents[3]
PAGE = PROJECT / "docs" / "platform.md"
TRAIN = "training.pool=cpu training.parallel.nodes=2 training.parallel.processes=1"
PATTERN = "[a-e]*.py"
TEXTS = f"data.path={sysconfig.get_path('stdlib')}/{PATTERN}"
OF_TEAMS = "queues:"
"""A word that only the block for a cluster that several teams share has."""
TIMEOUT_SECONDS = 900


@dataclass(frozen=True)
class Reader:
    """Where the page is followed."""

    folder: Path
    environment: dict[str, str]
    has_kueue: bool

    def follow(self, *sections: int) -> str:
        """Run the blocks of these sections in one shell; returns what it printed."""
        found = [block for section in sections for block in blocks(section)]
        text = "\n".join(block for block in found if self.has_kueue or OF_TEAMS not in block)
        if 4 in sections:
            assert text.count(TRAIN) == 1
            queue = ["training.queue=training"] if self.has_kueue else []
            text = text.replace(TRAIN, f"{TRAIN} {shlex.join([*queue, TEXTS, *SMALL])}")
        script = f"set -euxo pipefail; trap 'kill $(jobs -p) || true' EXIT\n{text}\n"
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self.environment, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT_SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout


def blocks(section: int) -> list[str]:
    """The commands of a section of the page."""
    (text,) = re.findall(rf"^## {section}\. .*?(?=^## )", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"^```bash\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert found
    return found


@pytest.fixture
def reader(kubeconfig: str, images: dict[str, str], pod_endpoint: str, tmp_path: Path) -> Iterator[Reader]:
    """A folder like the project's, and names for the namespace and the bucket that the page will make."""
    for name in (".venv", "charts", "build"):
        (tmp_path / name).symlink_to(PROJECT / name)
    shutil.copy(kubeconfig, tmp_path / "kubeconfig")  # the page sets the namespace in it
    name = f"gristmill-page-{os.urandom(3).hex()}"
    region = os.environ.get("AWS_REGION", "us-east-1")
    prefix = images["train"].partition("@")[0].removesuffix("/train")
    environment = os.environ | {
        "KUBECONFIG": str(tmp_path / "kubeconfig"), "POD_S3_ENDPOINT": pod_endpoint, "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region, "BUCKET": name, "NAMESPACE": name, "GRISTMILL_IMAGE_PREFIX": prefix,
        "GRISTMILL_CACHE": str(tmp_path / "cache"),
    }  # fmt: skip
    has_kueue = bool(kubectl("get", "crd", "localqueues.kueue.x-k8s.io", "--ignore-not-found"))
    yield Reader(tmp_path, environment, has_kueue)
    kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")
    if has_kueue:
        kubectl("delete", "clusterqueues,resourceflavors", name, "--wait=false", "--ignore-not-found")
    bucket = boto3.resource("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]).Bucket(name)
    bucket.objects.all().delete()
    bucket.delete()


def test_the_pages_commands_lead_from_an_empty_namespace_to_a_served_model_and_back(
    reader: Reader, images: dict[str, str], record_figure: Callable[[str, str], None]
) -> None:
    printed = reader.follow(2, 3, 4, 5)
    (events,) = (reader.folder / "runs").glob("*/events.jsonl")
    (job,) = EventLog(events).of_kind(TrainJobBegun)
    assert job.namespace == reader.environment["NAMESPACE"], "it was trained in the page's namespace"
    assert bool(EventLog(events).of_kind(Admitted)) == reader.has_kueue, "it was in the page's queue"
    assert re.search(r"^data: .*\"text_output\"", printed, re.MULTILINE), "the model answered"
    assert "Rollback was a success" in printed
    seconds = searched(reader, images["train"])
    record_figure("seconds of a pod that finds a whole run", f"{seconds:.1f}")
    reader.follow(7)
    left = kubectl("get", "namespaces", reader.environment["NAMESPACE"], "--ignore-not-found")
    assert not left


def searched(reader: Reader, image: str) -> float:
    """Seconds of a pipeline's first task, which finds in the bucket all that the page's run made."""
    (kept,) = (reader.folder / "runs").glob("*/config.yaml")
    done = from_yaml(kept.read_text())
    store = done.storage.uri
    config = done.model_copy(
        update={
            "run": done.run.model_copy(update={"name": "again", "folder": f"{store}/runs"}),
            "data": done.data.model_copy(update={"path": f"{IN_THE_POD}/{PATTERN}"}),
            "tracking": done.tracking.model_copy(update={"uri": "sqlite:////tmp/mlflow.db"}),  # a registry of its own
        }
    )

    def as_ingested_by(python: str) -> None:
        """The page's run read the texts with the workstation's Python, and that is a part of the recipe."""
        here = {"run": done.run.model_copy(update={"folder": str(reader.folder / "again")})}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("platform.python_version", lambda: python)
            run_step("ingest", open_context(done.model_copy(update=here)), {})

    namespace = reader.environment["NAMESPACE"]
    left, seconds, log = search(namespace, config, PATTERN, image, reader.folder, as_ingested_by)
    assert left == 0, log
    home = open_objects(f"{store}/runs/again")
    events = [parse_event(line) for name in home.names("events/") for line in (home.read(name) or b"").splitlines()]
    finished = {event.step: event.reused for event in events if isinstance(event, StepFinished)}
    assert finished == {step: step not in ("register", "promote") for step in STEPS}
    return seconds
