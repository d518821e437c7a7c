"""A real Triton with a repository built from a small exported model. `make triton` installs it."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llm.config import ServingConfig
from llm.errors import ServiceError, UserError
from llm.generation import Generator
from llm.runs.events import EventLog
from llm.serving.triton import repository
from llm.serving.triton.client import complete, stream
from llm.serving.triton.endpoints import free_endpoints
from llm.serving.triton.server import TritonServer, find_installation
from tests.cases.export import Case, make_case, one_thread

NAME = "gristmill"
PROMPTS = ("def ", "import ", "class A:\n", "", "return x<|endoftext|>y", "# ünï✓ ", "    if ", "The ")


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    with one_thread():
        yield make_case(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def reference(case: Case) -> Generator:
    return Generator.open(case.checkpoint, case.tokenizer)


@pytest.fixture(scope="module")
def server(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    try:
        installation = find_installation()
    except UserError as error:
        pytest.skip(str(error))
    config = ServingConfig(max_slots=4)
    built = repository.build(config, case.exported, 1, case.store, EventLog(case.store.root / "events.jsonl"))
    folder = tmp_path_factory.mktemp("triton") / "repository"  # a copy, as a test adds a version
    shutil.copytree(built.verify(), folder, ignore=shutil.ignore_patterns("manifest.json"))
    with TritonServer(installation, folder, free_endpoints()) as server:
        server.load(NAME)
        yield server
    with pytest.raises(ServiceError, match="does not answer"):
        server.is_ready(NAME)
    built.verify()  # serving left the product as it was


def test_a_stream_is_the_checkpoints_greedy_decoding_token_by_token(server: TritonServer, reference: Generator) -> None:
    expected = list(reference.tokens("def ", 40))
    tokens = list(stream(server.url, NAME, "def ", max_tokens=40))
    assert [token.token_id for token in tokens][: len(expected)] == expected
    assert [token.final for token in tokens] == [False] * (len(tokens) - 1) + [True]
    assert "".join(token.text for token in tokens) == reference.complete("def ", 40)


def test_eight_streams_at_once_on_four_slots_each_get_their_own_answer(
    server: TritonServer, reference: Generator
) -> None:
    with ThreadPoolExecutor(len(PROMPTS)) as pool:
        answers = list(pool.map(lambda prompt: complete(server.url, NAME, prompt, max_tokens=40), PROMPTS))
    assert answers == [reference.complete(prompt, 40) for prompt in PROMPTS]


def test_a_bad_request_is_refused_in_words_and_others_go_on(server: TritonServer, reference: Generator) -> None:
    good = stream(server.url, NAME, "def ", max_tokens=20)
    first = next(good)
    with pytest.raises(ServiceError, match="400 max_tokens=0 is not possible; allowed: 1 to 256"):
        complete(server.url, NAME, "def ", max_tokens=0)
    with pytest.raises(ServiceError, match="400 the prompt is too long"):
        complete(server.url, NAME, "x = [y]\n" * 200)
    assert first.text + "".join(token.text for token in good) == reference.complete("def ", 20)


def test_a_seed_repeats_a_drawn_answer(server: TritonServer) -> None:
    drawn = {"max_tokens": 20, "temperature": 1.0, "top_p": 0.9, "seed": 7}
    first, again = (complete(server.url, NAME, "def ", **drawn) for _ in range(2))
    assert first == again


def test_streams_whose_client_has_gone_are_cancelled(server: TritonServer, reference: Generator) -> None:
    for _ in range(8):  # twice the slots
        left = stream(server.url, NAME, "def ", max_tokens=100)
        next(left)
        left.close()
    assert complete(server.url, NAME, "def ", max_tokens=20) == reference.complete("def ", 20)


def test_a_broken_version_2_leaves_version_1_answering(
    server: TritonServer, case: Case, reference: Generator, tmp_path: Path
) -> None:
    broken = shutil.copytree(case.exported.folder / "onnx-fp32", tmp_path / "onnx")
    (broken / "model.onnx").write_bytes(b"not a graph")
    running = stream(server.url, NAME, "def ", max_tokens=40)
    text = next(running).text
    repository.write(ServingConfig(max_slots=4), broken, 2, server.repository)
    with pytest.raises(ServiceError, match=r"Triton could not load gristmill: .*version 2.*model.onnx failed"):
        server.load(NAME)
    assert text + "".join(token.text for token in running) == reference.complete("def ", 40)
    assert (server.is_ready(NAME, 1), server.is_ready(NAME, 2)) == (True, False)
    assert complete(server.url, NAME, "def ", max_tokens=20) == reference.complete("def ", 20)


def test_a_sound_version_3_takes_over(server: TritonServer, case: Case, reference: Generator) -> None:
    repository.write(ServingConfig(max_slots=4), case.exported.folder / "onnx-int4", 3, server.repository)
    server.load(NAME)
    assert server.is_ready(NAME, 3)
    assert len(list(stream(server.url, NAME, "def ", version=3, max_tokens=5))) <= 5


SERVE = """
import signal, sys
from pathlib import Path
from llm.serving.triton.endpoints import free_endpoints
from llm.serving.triton.server import TritonServer, find_installation
with TritonServer(find_installation(), Path(sys.argv[1]), free_endpoints()) as server:
    print(server._process.pid, flush=True)
    server.wait()
"""


def wait_until_handled(pid: int, number: int) -> None:
    """Wait until a process has a handler for a signal, as /proc says."""
    deadline = time.monotonic() + 60
    while True:
        status = Path(f"/proc/{pid}/status").read_text()
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
        if int(caught.split()[1], 16) >> (number - 1) & 1:
            return
        assert time.monotonic() < deadline, "no handler"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["asked", "killed"])
def test_triton_does_not_outlive_the_process_that_serves(server: TritonServer, number: int) -> None:
    command = [sys.executable, "-c", SERVE, str(server.repository)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as serving:
        assert serving.stdout is not None
        descriptor = os.pidfd_open(int(serving.stdout.readline()))
        if number == signal.SIGTERM:
            wait_until_handled(serving.pid, number)
        serving.send_signal(number)
        assert select.select([descriptor], [], [], 60)[0], "Triton lives on"
        os.close(descriptor)
    assert serving.returncode == (0 if number == signal.SIGTERM else -signal.SIGKILL)
