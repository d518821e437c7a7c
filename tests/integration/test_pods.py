"""Two nodes of a training as two processes, as Trainer starts them in pods, over a store in S3."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from llm.config import TrainingConfig
from llm.errors import UserError
from llm.runs.events import EventLog
from llm.storage import Manifest, Store, open_objects
from llm.training.checkpoint.find import newest_checkpoint
from llm.training.pod import read_plan
from llm.training.train import train
from tests.cases.training import MODEL, token_shards, training

PATIENCE_SECONDS = 120


class Nodes:
    """Starts the nodes of a plan and waits for their ends."""

    def __init__(self, folder: Path, nodes: int) -> None:
        self.folder, self.nodes = folder, nodes
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, plan_uri: str, started: int | None = None) -> None:
        """Start all of them, or the first few."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        for rank in range(self.nodes if started is None else started):
            environment = {
                **os.environ,
                "PET_NNODES": str(self.nodes),
                "PET_NPROC_PER_NODE": "1",
                "PET_NODE_RANK": str(rank),
                "PET_MASTER_ADDR": "127.0.0.1",
                "PET_MASTER_PORT": str(port),
                "GLOO_SOCKET_IFNAME": "lo",
                "GRISTMILL_CPUS": "1",
                "GRISTMILL_CACHE": str(self.folder / f"node-{rank}"),
            }
            with (self.folder / f"{rank}.log").open("a") as output:
                self.processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "llm.training.pod", plan_uri],
                        env=environment,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        text=True,
                    )
                )

    def events(self, kind: str, rank: int = 0) -> list[dict[str, Any]]:
        lines = (self.folder / f"{rank}.log").read_text().splitlines()
        events = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [event for event in events if event["kind"] == kind]

    def codes(self) -> list[int]:
        codes = [process.wait(PATIENCE_SECONDS) for process in self.processes]
        self.processes = []
        return codes

    def run(self, plan_uri: str) -> None:
        """The `elsewhere` of a launcher."""
        self.start(plan_uri)
        assert self.codes() == [0] * self.nodes, (self.folder / "0.log").read_text()

    def stop_at(self, step: int, plan_uri: str, number: int, rank: int) -> list[int]:
        """Run until rank 0 has done a step, send a signal to one node, and give all exit codes."""
        self.run_to(step, plan_uri)
        self.processes[rank].send_signal(number)
        return self.codes()

    def run_to(self, step: int, plan_uri: str) -> None:
        """Run until rank 0 has done a step."""
        self.start(plan_uri)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not any(event["step"] >= step for event in self.events("train_step")):
            assert time.monotonic() < deadline, "nothing happened"
            time.sleep(0.02)


def on_two_nodes(settings: Mapping[str, Any] = {}) -> TrainingConfig:
    return training({"parallel.nodes": 2, "parallel.processes": 1, **settings})


@pytest.fixture
def nodes(tmp_path: Path):
    made = Nodes(tmp_path, 2)
    yield made
    for process in made.processes:
        process.kill()
        process.wait()


class Stop(Exception):
    """The test took what it wanted."""


def plan_in(s3: str, log: EventLog, settings: Mapping[str, Any] = {}) -> str:
    """URI of a plan that a launcher would hand on."""
    uris: list[str] = []

    def keep(uri: str) -> None:
        uris.append(uri)
        raise Stop

    store = Store(s3)
    with pytest.raises(Stop):
        train(MODEL, on_two_nodes(settings), *token_shards(store), store, log, elsewhere=keep)
    return uris[0]


def test_what_two_pods_train_is_what_two_ranks_here_train(s3: str, nodes: Nodes, log: EventLog, tmp_path: Path):
    store = Store(s3)
    far = train(MODEL, on_two_nodes(), *token_shards(store), store, log, elsewhere=nodes.run)
    assert far.id not in store.found, "it was made now"
    here = Store(tmp_path / "here")
    near = train(MODEL, on_two_nodes({"parallel.nodes": 1, "parallel.processes": 2}), *token_shards(here), here, log)
    weights = "model.safetensors"
    assert far.file(weights).read_bytes() == near.file(weights).read_bytes()
    assert [event["step"] for event in nodes.events("train_step")] == list(range(1, 13))
    assert not [name for name in store.objects.names("training/") if "/step-" in name], "what is done is cleared"
    assert Manifest.read_uri(far.uri) == far


def test_a_stop_of_one_node_saves_on_all_and_the_next_attempt_ends_as_if_nothing_had_happened(
    s3: str, nodes: Nodes, log: EventLog
):
    store = Store(s3)
    shards = token_shards(store)
    plan = plan_in(s3, log, {"length.steps": 200, "checkpoints.every_steps": 1000})
    assert nodes.stop_at(3, plan, signal.SIGTERM, rank=1) == [75, 75]
    workspace = open_objects(plan.rpartition("/")[0])
    newest, _ = newest_checkpoint(workspace)
    assert newest is not None
    stopped_at = newest.state().step
    assert 3 <= stopped_at < 200
    resumed = train(
        MODEL,
        on_two_nodes({"length.steps": 200, "checkpoints.every_steps": 1000}),
        *shards,
        store,
        log,
        elsewhere=nodes.run,
    )
    assert [event["step"] for event in nodes.events("train_resumed")] == [stopped_at]
    assert resumed.counts["steps"] == 200


def test_a_killed_node_ends_the_others_too_so_that_all_begin_again(s3: str, nodes: Nodes, log: EventLog):
    plan = plan_in(s3, log, {"length.steps": 500, "checkpoints.every_steps": 5})
    codes = nodes.stop_at(11, plan, signal.SIGKILL, rank=1)  # the save of step 5 ended before that of 10 began
    assert codes[1] == -signal.SIGKILL
    assert codes[0] not in (0, 2, 3, 4), "an end that Trainer would not begin again after"
    assert newest_checkpoint(open_objects(plan.rpartition("/")[0]))[0] is not None


def test_a_users_mistake_ends_the_pod_with_2_and_its_words(s3: str, nodes: Nodes, log: EventLog):
    nodes.start(plan_in(s3, log, {"optimizer.lr": 1e30}))
    assert 2 in nodes.codes()
    assert "error: the" in (nodes.folder / "0.log").read_text()
    assert "the training diverged" in (nodes.folder / "0.log").read_text()


def test_a_plan_of_other_code_than_the_images_is_refused(s3: str, log: EventLog):
    uri = plan_in(s3, log)
    home, _, name = uri.rpartition("/")
    objects = open_objects(home)
    document = json.loads(objects.read(name) or b"")
    objects.write(name, json.dumps({**document, "recipe": "0" * 16}).encode())
    with pytest.raises(UserError, match=r"(?s)another training than the one that was planned.*make images"):
        read_plan(uri)
    objects.write(name, json.dumps({**document, "of_tomorrow": 1}).encode())
    with pytest.raises(UserError, match=r"(?s)than the one that was planned: of_tomorrow: .*make images"):
        read_plan(uri)


def test_a_plan_that_is_gone_is_named(s3: str):
    with pytest.raises(UserError, match=r"there is no plan at s3://bucket/store/training/x/plan.json"):
        read_plan(f"{s3}/training/x/plan.json")


def test_a_store_that_goes_away_ends_the_pod_so_that_it_is_started_again(
    s3: str, nodes: Nodes, log: EventLog, monkeypatch: pytest.MonkeyPatch
):
    plan = plan_in(s3, log)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
    nodes.start(plan)
    assert nodes.codes() == [75, 75]
    assert "does not answer" in (nodes.folder / "0.log").read_text()


def test_a_store_that_goes_away_in_the_middle_costs_what_was_done_since_the_last_checkpoint(
    s3: str, nodes: Nodes, log: EventLog, monkeypatch: pytest.MonkeyPatch
):
    settings = {"length.steps": 200, "checkpoints.every_steps": 2}
    shards, plan = token_shards(Store(s3)), plan_in(s3, log, settings)
    another = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)  # the same objects at another port
    another.start()
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*another.get_host_and_port()))
        nodes.run_to(5, plan)
        another.stop()
        assert nodes.codes() == [75, 75]
    newest, _ = newest_checkpoint(open_objects(plan.rpartition("/")[0]))
    assert newest is not None
    saved_at = newest.state().step
    settings["checkpoints.every_steps"] = 1000  # the same training, that saves a hundred times less
    resumed = train(MODEL, on_two_nodes(settings), *shards, Store(s3), log, elsewhere=nodes.run)
    assert [event["step"] for event in nodes.events("train_resumed")] == [saved_at]
    assert resumed.counts["steps"] == 200


def test_a_stop_before_the_ranks_have_begun_is_not_lost(s3: str, nodes: Nodes, monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # a store that takes requests, and never answers
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        nodes.start(f"{s3}/training/x/plan.json", started=1)
        silent.settimeout(PATIENCE_SECONDS)
        connection, _ = silent.accept()
        with connection:
            nodes.processes[0].send_signal(signal.SIGTERM)
            assert nodes.codes() == [75]
    assert "error: stopped on request" in (nodes.folder / "0.log").read_text()


def test_a_stop_while_other_nodes_are_waited_for_ends_at_once(s3: str, nodes: Nodes, log: EventLog):
    nodes.start(plan_in(s3, log), started=1)
    deadline = time.monotonic() + PATIENCE_SECONDS
    children = Path(f"/proc/{nodes.processes[0].pid}/task/{nodes.processes[0].pid}/children")
    while not children.read_text():
        assert time.monotonic() < deadline, "torchrun was not started"
        time.sleep(0.02)
    nodes.processes[0].send_signal(signal.SIGTERM)
    assert nodes.codes() == [75]
    assert "error: stopped on request" in (nodes.folder / "0.log").read_text()
