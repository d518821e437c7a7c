"""A release of the serving chart: the models that it serves, and the clients that go on asking meanwhile."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

import boto3

from llm.config import ServingConfig, compose
from llm.errors import GristmillError
from llm.export.export import export
from llm.generation import Generator
from llm.model import Decoder, initialise
from llm.model.weights import save
from llm.runs.events import EventLog
from llm.serving.triton import repository
from llm.serving.triton.client import stream
from llm.storage import Manifest, Recipe, Store
from llm.storage.products import RepositoryCounts
from llm.storage.uri import bucket_and_prefix
from llm.tokenizer import load as load_tokenizer
from tests.cases.cluster import CHARTS, helm, kubectl, objects, wait_for
from tests.cases.export import EXPORT, Case, make_case

CHART = CHARTS / "gristmill-serving"
MODEL = "gristmill"
RELEASE = "mill"
DAMAGED = f"{MODEL}/3/onnx/model.onnx.data"
PROMPTS = ("class A:\n", "", "return x<|endoftext|>y", "    if ", "The ")
TOKENS = 40
STREAMS = 8


@dataclass
class Models:
    """What the tests serve: two versions, and what must not be served."""

    cases: tuple[Case, Case]
    plain: Manifest
    """Version 1 as the step `deploy` makes it."""
    slow: tuple[Manifest, Manifest]
    """Versions 1 and 2 that take 5 ms a token, so that answers are under way when pods come and go."""
    damaged: Manifest
    """A file of it, DAMAGED, was changed in S3."""
    unloadable: Manifest
    """Its files are what its manifest says, and Triton cannot load them."""
    default: Manifest
    """A model of the default size, untrained: how fast it is does not depend on its weights."""

    @property
    def damage(self) -> str:
        """What is said of the damaged one, as a pattern."""
        return rf"error: {re.escape(DAMAGED)} of repository {self.damaged.id}: .* damaged"

    def answers(self, version: int) -> dict[str, str]:
        """The checkpoint's own greedy decoding of the prompts."""
        case = self.cases[version - 1]
        generator = Generator.open(case.checkpoint, case.tokenizer)
        return {prompt: generator.complete(prompt, TOKENS) for prompt in PROMPTS}


def make_models(store_uri: str, folder: Path) -> Models:
    """Make them all, and put them into the store."""
    cases = make_case(folder), make_case(folder, seed=1)
    store = Store(store_uri)
    plain = repository.build(ServingConfig(), cases[0].exported, 1, store, EventLog(folder / "events.jsonl"))
    damaged = made(store, cases[0], 3, "damaged")
    damage(damaged, DAMAGED)
    return Models(
        cases, plain, (made(store, cases[0], 1, "slow"), made(store, cases[1], 2, "slow")), damaged,
        made(store, cases[0], 3, "unloadable"), default_model(cases[0], store),
    )  # fmt: skip


def made(store: Store, case: Case, version: int, how: str) -> Manifest:
    """A repository that differs from what `deploy` would make."""
    with store.stage("repository", Recipe("deploy", {"version": version, "how": how})) as stage:
        repository.write(ServingConfig(), case.exported.folder / "onnx-fp32", version, stage.path)
        home = stage.path / MODEL / str(version)
        if how == "slow":
            before, backend = "        slot.made += 1\n", home / "decoding.py"
            assert before in backend.read_text()
            slower = f"        import time; time.sleep(0.005)\n{before}"
            backend.write_text(backend.read_text().replace(before, slower))
        if how == "unloadable":
            (home / "onnx" / "model.onnx").write_bytes(b"not a graph")
        return stage.commit(RepositoryCounts(model_name=MODEL, version=version))


def default_model(case: Case, store: Store) -> Manifest:
    """The repository of an untrained model of the configuration's default size."""
    tokenizer = load_tokenizer(case.tokenizer.folder)
    model = Decoder(compose().model, tokenizer.vocab_size)
    initialise(model, seed=0)
    with case.store.stage("checkpoint", Recipe("train", {"steps": 0}, [case.corpus, case.tokenizer])) as stage:
        save(model, stage.path, tokenizer.end_of_text)
        checkpoint = stage.commit()
    log = EventLog(case.store.root / "events.jsonl")
    exported = export(EXPORT, checkpoint, case.tokenizer, case.corpus, case.store, log)
    return repository.build(ServingConfig(), exported, 1, store, log)


def damage(manifest: Manifest, name: str) -> None:
    """Turn a bit of a file in S3."""
    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    bucket, prefix = bucket_and_prefix(manifest.uri)
    content = bytearray(client.get_object(Bucket=bucket, Key=f"{prefix}/{name}")["Body"].read())
    content[1000] ^= 1
    client.put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=bytes(content))


@dataclass
class Serving:
    """A release of the chart, as its operator and its clients see it."""

    namespace: str
    image: str
    secret: str
    endpoint: str

    def set(self, uri: str, *settings: str) -> list[str]:
        """Arguments that serve a model from S3, through a port of the node."""
        name, digest = self.image.split("@")
        return [part for setting in (
            f"image.repository={name}", f"image.digest={digest}", f"model.uri={uri}", f"s3.endpoint={self.endpoint}",
            f"s3.existingSecret={self.secret}", "service.type=NodePort", "resources.requests.cpu=100m",
            "resources.requests.memory=256Mi", *settings,
        ) for part in ("--set", setting)]  # fmt: skip

    def upgrade(self, uri: str, *settings: str) -> str:
        """Install or upgrade, and wait until it is done."""
        return self._upgrade(uri, *settings, check=True).stdout

    def refusal(self, uri: str, *settings: str, timeout: str = "4m") -> str:
        """What helm says of an upgrade that must fail."""
        done = self._upgrade(uri, *settings, check=False, timeout=timeout)
        assert done.returncode != 0, done.stdout
        return (done.stdout + done.stderr).replace("\\n", "\n")

    def _upgrade(self, uri: str, *settings: str, check: bool, timeout: str = "4m") -> subprocess.CompletedProcess[str]:
        return helm(
            "upgrade", "--install", RELEASE, str(CHART), "--namespace", self.namespace, "--wait", "--timeout", timeout,
            *self.set(uri, *settings), check=check,
        )  # fmt: skip

    def helm(self, *arguments: str) -> str:
        """Another command of helm on the release."""
        verb, *rest = arguments
        return helm(verb, RELEASE, "--namespace", self.namespace, *rest).stdout

    @property
    def url(self) -> str:
        """The Service's address on the node."""
        (service,) = objects(self.namespace, "services", "-l", f"app.kubernetes.io/instance={RELEASE}")
        port = next(port["nodePort"] for port in service["spec"]["ports"] if port["name"] == "http")
        return f"http://{node_address()}:{port}"

    def pods(self) -> list[str]:
        """Serving pods that have not been told to go."""
        selector = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component=server"
        found = objects(self.namespace, "pods", "-l", selector)
        return [pod["metadata"]["name"] for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def hashes(self) -> set[str]:
        """Versions of the pod template that run."""
        return {name.split("-")[-2] for name in self.pods()}


def node_address() -> str:
    (node, *_) = json.loads(kubectl("get", "nodes", "-o", "json"))["items"]
    return next(each["address"] for each in node["status"]["addresses"] if each["type"] == "InternalIP")


@dataclass
class Load:
    """Eight clients that ask one question after another, each on a new connection, and compare the answers."""

    url: str
    right: dict[int, dict[str, str]]
    prompts: tuple[str, ...]
    """Those whose answer tells which version gave it."""
    answers: list[tuple[float, int]] = field(default_factory=list)
    """When each right answer was asked for, and which version gave it."""
    wrong: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def run(self, first: int) -> None:
        """One client."""
        for prompt in islice(cycle(self.prompts), first, None):
            if self.over.is_set():
                return
            asked = time.monotonic()
            try:
                text = "".join(piece.text for piece in stream(self.url, MODEL, prompt, max_tokens=TOKENS))
            except GristmillError as error:
                self.failed.append(str(error))
                time.sleep(0.5)
                continue
            version = next((version for version, right in self.right.items() if right[prompt] == text), None)
            if version is None:
                self.wrong.append(text)
            else:
                self.answers.append((asked, version))

    def versions_since(self, moment: float) -> set[int]:
        """Versions that answered what was asked after a moment."""
        return {version for asked, version in self.answers if asked > moment}


@contextmanager
def load(url: str, models: Models, *versions: int) -> Iterator[Load]:
    """Clients at work during the block; afterwards, no answer may be missing or wrong."""
    right = {version: models.answers(version) for version in versions}
    telling = tuple(one for one in PROMPTS if len({answers[one] for answers in right.values()}) == len(right))
    assert len(telling) > 1
    running = Load(url, right, telling)
    threads = [threading.Thread(target=running.run, args=(index,)) for index in range(STREAMS)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: len(running.answers) > STREAMS, "answers under load")
        yield running
    finally:
        running.over.set()
        for thread in threads:
            thread.join()
    assert not running.failed, running.failed
    assert not running.wrong, running.wrong
