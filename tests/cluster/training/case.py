"""Small trainings for the tests on a cluster: a namespace with the platform chart and its pools, and launchers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from llm.config import RunConfig, compose
from llm.steps import open_context, run_step
from llm.storage import Manifest, Objects, Recipe, open_objects
from llm.training.train import training_recipe
from tests.cases.cluster import kubectl, objects, phase, pod_log, wait_for
from tests.cluster.training.launcher import start_launcher

SMALL = [
    f"data.path={sysconfig.get_path('stdlib')}/[a-e]*.py", "data.domain=code", "tokenizer.vocab_size=512",
    "model.hidden_size=128", "model.intermediate_size=256", "model.num_hidden_layers=2",
    "model.num_attention_heads=4", "model.num_key_value_heads=2", "model.max_position_embeddings=128",
    "training.batch.sequence_length=128", "training.batch.tokens=4096", "training.batch.micro_batch_size=4",
    "training.length.steps=40", "training.checkpoints.every_steps=10", "training.validation.every_steps=20",
    "training.parallel.backend.name=torch",  # half as long to import as deepspeed, which test_training takes
    "tracking.uri=http://127.0.0.1:9", "tracking.timeout_seconds=1", "cluster.unschedulable_after_seconds=10",
]  # fmt: skip
ON_THE_POOL = ["training.pool=cpu", "training.parallel.nodes=2", "training.parallel.processes=1"]
ON_ONE_NODE = ["training.parallel.nodes=1", "training.parallel.processes=1"]
POOLS = """
pools:
  cpu: {resources: {requests: {cpu: 100m, memory: 512Mi}}, terminationGracePeriodSeconds: 60, maxRestarts: 5}
  brief: {resources: {requests: {cpu: 100m, memory: 512Mi}}, terminationGracePeriodSeconds: 20, deadlineSeconds: 60}
  gpu: {resources: {requests: {cpu: 100m, memory: 1Gi}, limits: {nvidia.com/gpu: 1}}}
  nowhere: {resources: {requests: {cpu: 100m, memory: 1Gi}}, nodeSelector: {pool: nowhere}}
"""

GIVEN = "-given"
"""The store of what the steps before the training made."""
GRISTMILL = [sys.executable, "-c", "import sys; from llm.cli import main; sys.argv[0] = 'gristmill'; main()"]


class Case:
    """A namespace with the platform chart, and what the steps before the training made."""

    def __init__(self, namespace: str, store_uri: str, image: str, folder: Path) -> None:
        self.namespace, self.store_uri, self.image, self.folder = namespace, store_uri, image, folder
        self.launchers = 0

    def config(self, run: str, *overrides: str, store: str = "") -> RunConfig:
        uri = self.store_uri + store
        if store != GIVEN:
            self._provide(uri)
        places = [f"storage.uri={uri}", f"run.folder={uri}/runs", f"run.name={run}"]
        return compose([*SMALL, *places, f"cluster.namespace={self.namespace}", *overrides])

    def _provide(self, uri: str) -> None:
        """Put what the steps before the training made into a store: a manifest names its product within its store."""
        source, target = open_objects(self.store_uri + GIVEN), open_objects(uri)
        for manifest in self.given.values():
            for name in source.names(f"{manifest.address}/"):
                content = source.read(name)
                assert content is not None
                target.write(name, content)

    @cached_property
    def given(self) -> Mapping[str, Manifest]:
        """Shards and vocabulary, in a store of their own."""
        context = open_context(self.config("given", store=GIVEN))
        made: dict[str, Manifest] = {}
        for step in ("ingest", "tokenizer", "tokenize"):
            made[step] = run_step(step, context, made)
        return made

    def launch(self, config: RunConfig) -> str:
        """Start the training component in a pod; returns the pod's name."""
        self.launchers += 1
        name = f"launcher-{self.launchers}"
        start_launcher(self.namespace, name, config, self.given, self.image, self.folder)
        return name

    def kill(self, launcher: str, script: str) -> None:
        """Run this in the launcher's pod, where -1 is all but the first process and this script's own."""
        kubectl("-n", self.namespace, "exec", launcher, "--", "sh", "-c", script, check=False)

    def log(self, launcher: str) -> str:
        """What the launcher printed."""
        return pod_log(self.namespace, launcher)

    def end(self, launcher: str) -> str:
        """Wait for the end of the launcher's pod: Succeeded or Failed."""

        def ended() -> str | None:
            now = phase(self.namespace, launcher)
            return now if now in ("Succeeded", "Failed") else None

        found: str = wait_for(ended, f"the end of {launcher}", 240, every=2)
        return found

    def train_job(self, run: str) -> dict[str, Any] | None:
        found = objects(self.namespace, "trainjobs", "-l", f"gristmill.io/run={run}")
        return found[0] if found else None

    def checkpoint(self, config: RunConfig) -> Manifest:
        """The finished checkpoint in the store."""
        found = open_context(config).store.find(self._recipe(config))
        assert found is not None
        return found

    def workspace(self, config: RunConfig) -> Objects:
        """Where the training keeps its checkpoints until it is done."""
        return open_context(config).store.working_objects(self._recipe(config))

    def _recipe(self, config: RunConfig) -> Recipe:
        return training_recipe(config.model, config.training, self.given["tokenize"], self.given["tokenizer"])

    def events(self, config: RunConfig) -> str:
        """All events of the run in the store."""
        home = open_objects(f"{config.run.folder}/{config.run.name}")
        return b"".join(home.read(name) or b"" for name in home.names("events/")).decode()

    def wait_for_step(self, run: str, step: int) -> None:
        """Until rank 0 has done this step, by the log of its pod (the log of a Job is that of any pod)."""

        def reached() -> bool:
            job = self.train_job(run)
            if job is None:
                return False
            of_the_job = f"jobset.sigs.k8s.io/jobset-name={job['metadata']['name']}"
            rank_0 = f"-l{of_the_job},batch.kubernetes.io/job-completion-index=0"
            log = pod_log(self.namespace, rank_0, "node", "--tail=-1")
            return any(int(one) >= step for one in re.findall(r'"train_step", "step": (\d+)', log))

        wait_for(reached, f"step {step}", 180, every=0.1)

    def run_here(
        self, folder: Path, *overrides: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A run on this machine that trains on the cluster, to its end."""
        arguments = self.workstation_arguments(folder, *overrides)
        image = {"GRISTMILL_TRAIN_IMAGE": self.image}
        return gristmill("run", "pretrain", *arguments, environment={**image, **(environment or {})})

    def workstation_arguments(self, folder: Path, *overrides: str) -> list[str]:
        """Arguments of a run that is called `workstation`, on this machine, with a store on S3."""
        places = [f"storage.uri={self.store_uri}-workstation", f"run.folder={folder / 'runs'}", "tracking.uri=null"]
        return [*SMALL, *places, "run.name=workstation", f"cluster.namespace={self.namespace}", *overrides]


def gristmill(*arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*GRISTMILL, *arguments], capture_output=True, text=True, timeout=300, env={**os.environ, **(environment or {})}
    )
