"""How a Triton ends, and how it fails: what the chart gristmill-serving relies on, seen on a real one.

A model that takes its time (10 ms a token), so that there is something to interrupt.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import pytest

from llm.config import ServingConfig
from llm.errors import ServiceError, UserError
from llm.serving.pod.answer import same_answer_twice
from llm.serving.pod.health import main, model_process_lives, model_processes
from llm.serving.pod.open_requests import Requests, requests
from llm.serving.pod.trial import Trial
from llm.serving.triton import repository
from llm.serving.triton.client import stream
from llm.serving.triton.endpoints import free_endpoints
from llm.serving.triton.server import Installation, TritonServer, find_installation
from llm.storage import Manifest, Recipe, Store
from llm.storage.products import RepositoryCounts
from tests.cases.export import Case, make_case, one_thread

NAME = "gristmill"
TOKENS = 60
SLOTS = ServingConfig().max_slots


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    with one_thread():
        yield make_case(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def installation() -> Installation:
    try:
        return find_installation()
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def slow(case: Case) -> Manifest:
    return made(case.store, case, "slow", "import time; time.sleep(0.01)")


def made(store: Store, case: Case, name: str, line: str) -> Manifest:
    """A repository whose backend runs a line of ours before each token."""
    with store.stage("repository", Recipe("deploy", {"name": name})) as stage:
        repository.write(ServingConfig(), case.exported.folder / "onnx-fp32", 1, stage.path)
        backend = stage.path / NAME / "1" / "decoding.py"
        before = "        slot.made += 1\n"
        assert before in backend.read_text()
        backend.write_text(backend.read_text().replace(before, f"        {line}\n{before}"))
        return stage.commit(RepositoryCounts(model_name=NAME, version=1))


@pytest.fixture
def server(installation: Installation, slow: Manifest) -> Iterator[TritonServer]:
    with TritonServer(installation, slow.verify(), free_endpoints()) as server:
        server.load(NAME)
        yield server


def test_told_to_stop_it_refuses_new_connections_and_finishes_the_answers_that_it_has_begun(
    server: TritonServer,
) -> None:
    answers = Answers(server.url, 8)
    assert answers.begun.wait(30)
    triton(server).send_signal(signal.SIGTERM)
    refused = eventually(lambda: connects(server) is False)
    assert refused
    assert answers.wait() == ["length"] * 8
    triton(server).wait(30)


def test_its_counters_say_what_is_open_whoever_asked(server: TritonServer) -> None:
    assert eventually(lambda: owed(server) == Requests(0, 0))
    answers = Answers(server.url, SLOTS + 4)
    assert eventually(lambda: owed(server).open >= SLOTS + 4)  # those in slots and those in the queue
    answers.wait()
    assert eventually(lambda: owed(server) == Requests(0, SLOTS + 4))
    gone = stream(server.url, NAME, "def ", max_tokens=TOKENS)
    next(gone)
    assert owed(server).open >= 1
    gone.close()
    assert eventually(lambda: owed(server).open == 0)


def test_many_short_answers_at_once_end_neither_the_server_nor_the_count(server: TritonServer) -> None:
    """A count that two threads change at the same time ended Triton with signal 11."""

    def ask(number: int) -> str | None:
        *_, last = stream(server.url, NAME, "def ", max_tokens=1)
        return last.finish_reason

    with ThreadPoolExecutor(16) as clients:
        assert set(clients.map(ask, range(400))) == {"length"}
    assert eventually(lambda: owed(server) == Requests(0, 400))


def test_a_connection_of_grpc_that_is_only_kept_open_does_not_count(server: TritonServer) -> None:
    with socket.create_connection(("127.0.0.1", server.endpoints.grpc_port)):
        assert eventually(lambda: owed(server) == Requests(0, 0))


def test_told_to_stop_it_waits_for_a_connection_that_is_only_kept_open_which_a_drain_does_not(
    server: TritonServer,
) -> None:
    kept = HTTPConnection("127.0.0.1", int(server.url.rpartition(":")[2]))
    kept.request("GET", "/v2/health/live")
    kept.getresponse().read()
    assert eventually(lambda: owed(server).open == 0)
    answers = Answers(server.url, 2)
    assert answers.begun.wait(30)
    assert owed(server).open >= 2
    answers.wait()
    triton(server).send_signal(signal.SIGTERM)
    descriptor = os.pidfd_open(triton(server).pid)
    assert not select.select([descriptor], [], [], 4)[0]
    kept.close()
    assert select.select([descriptor], [], [], 20)[0]
    os.close(descriptor)


def test_a_triton_whose_models_process_has_died_calls_itself_ready_and_health_knows_better(
    server: TritonServer, capsys: pytest.CaptureFixture[str]
) -> None:
    pid = triton(server).pid
    probe = ["--port", server.url.rpartition(":")[2], "--triton", str(pid)]
    assert main(probe) == 0
    os.kill(*model_processes(pid), signal.SIGKILL)
    assert eventually(lambda: not model_process_lives(pid))
    assert server.is_ready(NAME)
    with pytest.raises(ServiceError, match="Stub process 'gristmill_0_0' is not healthy"):
        list(stream(server.url, NAME, "def ", max_tokens=2))
    assert main(probe) == 1
    assert capsys.readouterr().err == "the model's process has died\n"


def test_health_says_that_a_triton_does_not_answer(server: TritonServer, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert main(["--port", str(port), "--triton", str(triton(server).pid)]) == 1
    assert capsys.readouterr().err.startswith("Triton does not answer")


def test_a_trial_of_a_good_model_says_what_it_answered(
    installation: Installation, slow: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Trial().run(slow.uri, NAME, tmp_path)
    assert capsys.readouterr().err.startswith("trial: version 1 of gristmill serves: 'def ' goes on with ")


def test_a_trial_of_a_model_that_does_not_load_quotes_triton(
    installation: Installation, case: Case, tmp_path: Path
) -> None:
    with case.store.stage("repository", Recipe("deploy", {"name": "broken"})) as stage:
        repository.write(ServingConfig(), case.exported.folder / "onnx-fp32", 1, stage.path)
        (stage.path / NAME / "1" / "onnx" / "model.onnx").write_bytes(b"not a graph")
        broken = stage.commit(RepositoryCounts(model_name=NAME, version=1))
    with pytest.raises(ServiceError, match=r"Triton could not load gristmill: .*version 1.*model\.onnx failed"):
        Trial().run(broken.uri, NAME, tmp_path)


def test_a_model_that_answers_differently_each_time_does_not_pass(
    installation: Installation, case: Case, tmp_path: Path
) -> None:
    counting = 'self.answered = getattr(self, "answered", 0) + 1; token = (token + self.answered) % 200'
    other = made(case.store, case, "fickle", counting)
    with TritonServer(installation, other.verify(), free_endpoints()) as server:
        server.load(NAME)
        with pytest.raises(ServiceError, match="gives two answers to one question"):
            same_answer_twice(server.url, NAME, "def ", 8)


class Answers:
    """Streams under way, each in a thread."""

    def __init__(self, url: str, count: int) -> None:
        self.begun = threading.Event()
        self._ends: list[str | None] = []
        self._started = threading.Semaphore(0)
        self._threads = [threading.Thread(target=self._ask, args=(url,)) for _ in range(count)]
        for thread in self._threads:
            thread.start()
        threading.Thread(target=self._all_begun).start()

    def wait(self) -> list[str | None]:
        """How each ended."""
        for thread in self._threads:
            thread.join()
        return self._ends

    def _ask(self, url: str) -> None:
        tokens = stream(url, NAME, "def ", max_tokens=TOKENS)
        next(tokens)
        self._started.release()
        try:
            *_, last = tokens
        except ServiceError as error:
            self._ends.append(str(error))
        else:
            self._ends.append(last.finish_reason)

    def _all_begun(self) -> None:
        for _ in self._threads:
            self._started.acquire()
        self.begun.set()


def owed(server: TritonServer) -> Requests:
    """What the server's counters say of its HTTP and gRPC ports."""
    ports = server.endpoints.ports
    return requests(f"http://127.0.0.1:{ports['metrics']}/metrics", {ports["http"], ports["grpc"]}, triton(server).pid)


def triton(server: TritonServer):
    """The server's process."""
    assert server._process is not None
    return server._process


def connects(server: TritonServer) -> bool:
    """Whether a new connection gets an answer."""
    try:
        return server.is_ready(NAME)
    except ServiceError:
        return False


def eventually(what: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
