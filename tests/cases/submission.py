"""What the tests of submitted runs share: a configuration that works in pods, scripts of runs, and the command line."""

import sys
from dataclasses import dataclass
from functools import lru_cache

import pytest
from kfp import dsl

from llm.cli import main
from llm.cluster.pipelines.quick_tasks import make_tasks_quick
from llm.config import RunConfig, compose
from tests.fakes.kfp_server import KfpServer, Look

IN_PODS = ("storage.uri=s3://bucket/prefix", "tracking.uri=http://mlflow:5000")
NAME = "pretrain-one"
DONE = {"ingest": "SUCCEEDED", "train": "SUCCEEDED", "gate": "SUCCEEDED", "register": "SUCCEEDED"}
PROMOTED = {**DONE, "condition-2": "SUCCEEDED", "promote": "SUCCEEDED", "deploy": "SUCCEEDED", "report": "SUCCEEDED"}
NOT_PROMOTED = {**DONE, "condition-2": "SKIPPED", "report": "SUCCEEDED"}
FAILED = {"ingest": "SUCCEEDED", "train": "FAILED", "evaluate": None, "report": "SUCCEEDED"}
SUCCESS = [
    Look("PENDING"),
    Look("RUNNING", {"ingest": "RUNNING"}),
    Look("RUNNING", {"ingest": "SUCCEEDED", "train": "RUNNING"}),
    Look("SUCCEEDED", PROMOTED),
]
TRAINING = [Look("RUNNING", {"ingest": "SUCCEEDED", "train": "RUNNING"})]
LOG_OF_3 = """\
step 1/40
error: the corpus did not pass its suite
  Fix the documents below.
I1128 15:21:22.502999      27 launcher_v2.go:181] publish success.
F1128 15:21:22.552240      27 main.go:53] failed to execute component: exit status 3
time="2026-11-28T15:21:23.490Z" level=info msg="sub-process exited" argo=true error="<nil>"
Error: exit status 1
"""


make_tasks_quick()  # for the tests that import a pipeline themselves: the stack of a test is a deep one


@dsl.component(base_image="gristmill/data:0", install_kfp_package=False)
def ingest(config: str) -> None:
    """A step."""


@dsl.pipeline(name="pretrain")
def small(config: str) -> None:
    """A pipeline that compiles in no time."""
    ingest(config=config)


composed = lru_cache(compose)


def config(server: KfpServer, *overrides: str) -> RunConfig:
    made = composed((*IN_PODS, f"run.name={NAME}", *overrides))
    return made.model_copy(update={"cluster": made.cluster.model_copy(update={"kfp_uri": server.uri})})


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


def gristmill(capsys: pytest.CaptureFixture[str], *arguments: str) -> Ended:
    """The command line in this process, since kfp takes seconds to import in another one."""
    before = sys.argv
    sys.argv = ["gristmill", *arguments]
    capsys.readouterr()
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        sys.argv = before
    printed = capsys.readouterr()
    return Ended(int(ended.value.code or 0), printed.out, printed.err)
