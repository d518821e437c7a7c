"""The package that Kubeflow Pipelines gets, by us or by its own command."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from llm import __version__
from llm.cluster.pipelines.package import compile_package, for_a_cluster
from llm.config import compose, from_yaml
from llm.images import OF_STEPS, PREFIX, PROJECT, SOURCES, Image, fingerprint, record
from pipelines.pretrain import pretrain
from tests.cases.placeholders import PLACEHOLDERS


def test_the_package_is_yaml_whatever_its_configuration_holds(tmp_path: Path):
    config = for_a_cluster("pretrain", compose(['data.path=/data/it\'s "here": #1\n{{$}} – ☃']))
    compile_package(pretrain, config, tmp_path / "package.yaml")
    assert from_yaml(parameter(tmp_path / "package.yaml")) == config


@pytest.mark.parametrize("written", PLACEHOLDERS)
def test_nothing_that_kfp_argo_or_kubernetes_replaces_is_in_the_packages_parameter(tmp_path: Path, written: str):
    config = for_a_cluster("pretrain", compose([f"evaluation.prompts=[{json.dumps(written)}]"]))
    assert config.evaluation.prompts == (written,)
    compile_package(pretrain, config, tmp_path / "package.yaml")
    sent = parameter(tmp_path / "package.yaml")
    assert re.findall(r"\{\{|\$|/kfp-workspace", sent) == []
    assert from_yaml(sent) == config


def parameter(package: Path) -> str:
    """What the package gives to its steps."""
    document = next(yaml.safe_load_all(package.read_text()))
    return document["root"]["inputDefinitions"]["parameters"]["config"]["defaultValue"]


def test_the_name_is_the_given_one_or_follows_from_all_that_decides_the_run():
    assert for_a_cluster("pretrain", compose(["run.name=mine"])).run.name == "mine"
    first, second = (for_a_cluster("pretrain", compose([f"training.seed={seed}"])).run.name for seed in (1, 2))
    assert first != second
    assert for_a_cluster("pretrain", compose(["training.seed=1", "cluster.experiment=other"])).run.name == first


def test_the_run_has_its_folder_in_the_store_where_its_steps_share_no_disk():
    config = for_a_cluster("pretrain", compose(["storage.uri=s3://bucket/store/"]))
    assert config.run.folder == "s3://bucket/store/runs"
    assert for_a_cluster("pretrain", compose([])).run.folder == "runs"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of this tree, whose images are built."""
    for name in SOURCES:
        shutil.copytree(PROJECT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    (tmp_path / "build").mkdir()
    sources = fingerprint(tmp_path)
    record({name: Image(f"gristmill/{name}:{__version__}", "", digest(name), 1, None, sources) for name in OF_STEPS},
           tmp_path)  # fmt: skip
    return tmp_path


def digest(name: str) -> str:
    return f"sha256:{name.encode().hex():0<64}"


def images_of_the_package(tree: Path) -> set[str]:
    """What the pods of the package run that a tree compiles."""
    script = "from llm.cli import main; main()"
    environment = {name: value for name, value in os.environ.items() if name not in (PREFIX, "PYTHONPATH")}
    compiled = subprocess.run(
        [sys.executable, "-c", script, "compile", "pretrain", "-o", "package.yaml"],
        cwd=tree, capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert compiled.returncode == 0, compiled.stderr
    return set(re.findall(r"image: (\S+)", (tree / "package.yaml").read_text()))


def test_the_package_names_images_by_digest_only_while_they_are_built_from_this_tree(tree: Path):
    assert images_of_the_package(tree) == {f"gristmill/{name}@{digest(name)}" for name in OF_STEPS}
    (tree / "llm" / "config" / "settings" / "new.yaml").write_text("")
    assert images_of_the_package(tree) == {f"gristmill/{name}:{__version__}" for name in OF_STEPS}
