"""The package that Kubeflow Pipelines gets, by us or by its own command."""

from __future__ import annotations

from pathlib import Path

import yaml

from llm.config import compose, from_yaml
from llm.kubernetes.submission.package import compile_package, for_a_cluster
from pipelines.pretrain import pretrain


def test_the_package_is_yaml_whatever_its_configuration_holds(tmp_path: Path):
    config = for_a_cluster("pretrain", compose(['data.path=/data/it\'s "here": #1\n{{$}} – ☃']))
    compile_package(pretrain, config, tmp_path / "package.yaml")
    document = next(yaml.safe_load_all((tmp_path / "package.yaml").read_text()))
    parameter = document["root"]["inputDefinitions"]["parameters"]["config"]
    assert from_yaml(parameter["defaultValue"]) == config


def test_the_name_is_the_given_one_or_follows_from_all_that_decides_the_run():
    assert for_a_cluster("pretrain", compose(["run.name=mine"])).run.name == "mine"
    first, second = (for_a_cluster("pretrain", compose([f"training.seed={seed}"])).run.name for seed in (1, 2))
    assert first != second
    assert for_a_cluster("pretrain", compose(["training.seed=1", "cluster.experiment=other"])).run.name == first


def test_the_run_has_its_folder_in_the_store_where_its_steps_share_no_disk():
    config = for_a_cluster("pretrain", compose(["storage.uri=s3://bucket/store/"]))
    assert config.run.folder == "s3://bucket/store/runs"
    assert for_a_cluster("pretrain", compose([])).run.folder == "runs"
