"""Manifests are held against the CRDs of any version, and a field that it does not know is a fault."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from scripts.check_crds import main

TRAINER = {"properties": {"image": {"type": "string"}}, "x-kubernetes-preserve-unknown-fields": True, "type": "object"}


def crd(folder: Path, kind: str, properties: dict, version: str = "v1alpha1") -> str:
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}
    names = {"group": "trainer.kubeflow.org", "names": {"kind": kind}}
    path = folder / "crd.yaml"
    path.write_text(yaml.safe_dump({"spec": {**names, "versions": [
        {"name": version, "schema": {"openAPIV3Schema": schema}},
    ]}}))  # fmt: skip
    return str(path)


def test_what_a_version_knows_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    known = {
        name: {"type": "object", "x-kubernetes-preserve-unknown-fields": True} for name in ("runtimeRef", "trainer")
    }
    assert main([crd(tmp_path, "TrainJob", {**known, "suspend": {"type": "boolean"}})]) == 0
    assert capsys.readouterr().out == "2 manifests checked, 0 faults\n"


def test_what_it_does_not_know_is_named_with_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([crd(tmp_path, "TrainJob", {"trainer": TRAINER, "suspend": {"type": "boolean"}})]) == 1
    assert "crd.yaml: trainjob.yaml: spec: Additional properties are not allowed ('runtimeRef'" in (
        capsys.readouterr().out
    )


def test_another_type_is_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    known = {"runtimeRef": {"type": "string"}, "trainer": TRAINER}
    assert main([crd(tmp_path, "TrainJob", known)]) == 1
    assert "spec/runtimeRef: " in capsys.readouterr().out


@pytest.mark.parametrize(("kind", "version"), [("TrainJob", "v2"), ("Elsewhere", "v1alpha1")])
def test_without_a_manifest_of_that_kind_nothing_was_checked(tmp_path: Path, kind: str, version: str):
    assert main([crd(tmp_path, kind, {}, version)]) == 2
