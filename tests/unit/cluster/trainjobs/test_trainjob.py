"""The TrainJob as a document: golden copies, names, labels, fingerprints."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.cluster.labels import label_value
from llm.cluster.trainjobs.trainjob import SPEC_HASH, Owner, TrainJobSpec, manifest, trainjob_name

SPEC = TrainJobSpec(
    run="pretrain-3f9a61c2", task="train", pool="a100", nodes=4, processes=8,
    command=("python", "-m", "llm.training.pod", "s3://models/store/training/9c1e07/plan.json"),
)  # fmt: skip
OWNER = Owner("argoproj.io/v1alpha1", "Workflow", "pretrain-x7k2p", "5f1c0c52-6a57-4d2e-9d4e-0e4f4ac0e1b7")
DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?")


def made(**changes: Any) -> dict[str, Any]:
    return manifest(replace(SPEC, **changes), "ml", "gristmill/train@sha256:0123", None)


def test_the_trainjob_of_a_pipelines_run_is_the_golden_one(golden):
    document = manifest(SPEC, "ml", "gristmill/train@sha256:0123", OWNER)
    golden("trainjob.yaml", yaml.safe_dump(document, sort_keys=False))


def test_the_trainjob_of_a_person_is_the_golden_one(golden):
    document = manifest(replace(SPEC, nodes=1), "ml", "gristmill/train:0.1.0", None)
    golden("trainjob-unowned.yaml", yaml.safe_dump(document, sort_keys=False))


def test_the_fingerprint_is_of_what_is_asked_for_and_of_nothing_else():
    def fingerprint(document: dict[str, Any]) -> str:
        return document["metadata"]["annotations"][SPEC_HASH]

    same = fingerprint(made())
    assert fingerprint(manifest(SPEC, "other", "gristmill/train@sha256:0123", OWNER)) == same
    changed = [made(nodes=3), made(processes=1), made(pool="cpu"), made(command=("true",))]
    fingerprints = {fingerprint(document) for document in changed}
    assert len(fingerprints | {same}) == 5


@settings(deadline=None)
@given(run=st.text(min_size=1), task=st.sampled_from(["train", "evaluate"]))
def test_any_run_has_a_name_that_is_short_enough_for_the_host_names_of_its_pods(run: str, task: str):
    name = trainjob_name(run, task)
    assert DNS_LABEL.fullmatch(name)
    assert len(f"{name}-node-0-9999-abcde") <= 63
    assert name == trainjob_name(run, task)


@settings(deadline=None)
@given(st.text(min_size=1))
def test_any_run_has_a_label_that_kubernetes_takes(run: str):
    value = label_value(run)
    assert LABEL_VALUE.fullmatch(value)
    assert len(value) <= 63
    assert label_value(value) == value


@pytest.mark.parametrize(
    ("run", "name"),
    [
        ("demo", "demo-train-d9eca747"),
        ("Demo", "demo-train-92f3db58"),
        ("7b", "run-7b-train-"),
        ("_", "train-"),
        ("a-very-long-name-of-a-run-that-goes-on-and-on", "a-very-long-name-of-a-run-train-"),
    ],
)
def test_a_name_is_readable_and_differs_between_runs(run: str, name: str):
    assert trainjob_name(run, "train").startswith(name)
    assert len({trainjob_name(run, task) for task in ("train", "tune")}) == 2


def test_a_label_that_is_fine_is_left_alone_and_two_long_ones_differ():
    assert label_value("pretrain-3f9a61c2.B_1") == "pretrain-3f9a61c2.B_1"
    long = "x" * 70
    assert label_value(long) != label_value(long + "y")
    assert label_value("ein Lauf mit Ümlaut").startswith("ein-Lauf-mit-mlaut-")
