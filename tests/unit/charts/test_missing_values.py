"""Values that are missing: a user sets them to null, or the release is of a chart that did not have them yet."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cases.helm import CHARTS, Helm, one

NAMES = ("gristmill-platform", "gristmill-serving")
CPU = "pools.cpu.resources.requests.cpu=1"

Object = dict[str, Any]


def unset(chart: str) -> Object:
    """What each missing key means, by its path."""
    found: Object = yaml.safe_load((CHARTS / chart / "files" / "keys.yaml").read_text())["unset"]
    return found


def sets(*settings: str) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


@pytest.fixture
def reusing(tmp_path: Path) -> Callable[[str, Object], Helm]:
    """The chart with other defaults: `helm upgrade --reuse-values` takes those of the chart that the release has."""

    def chart(name: str, values: Object) -> Helm:
        shutil.copytree(CHARTS / name, tmp_path / name)
        (tmp_path / name / "values.yaml").write_text(yaml.safe_dump(values))
        return Helm(tmp_path / name)

    return chart


def defaults(chart: str, *without: str) -> Object:
    """The chart's defaults without some keys."""
    values: Object = yaml.safe_load((CHARTS / chart / "values.yaml").read_text())
    for path in without:
        *section, name = path.split(".")
        del (values[section[0]] if section else values)[name]
    return values


def nested(keys: Object) -> Object:
    """Values by path as the sections of a values.yaml."""
    values: Object = {}
    for path, value in keys.items():
        *section, name = path.split(".")
        (values.setdefault(section[0], {}) if section else values)[name] = value
    return values


@pytest.mark.parametrize("chart", NAMES)
def test_each_key_can_be_set_to_null(chart: str, reusing: Callable[[str, Object], Helm]) -> None:
    keys = {path: value for path, value in unset(chart).items() if path != "pools"}
    pool = sets(CPU) if chart == "gristmill-platform" else []  # a pool without a request for CPUs is refused
    nulls = sets(*(f"{path}=null" for path in keys))
    pools = {"pools": {"cpu": {}}} if pool else {}
    assert Helm(chart).template(*nulls, *pool) == reusing(chart, nested(keys) | pools).template(*pool)


def test_pools_that_are_null_are_no_pools() -> None:
    helm = Helm("gristmill-platform")
    assert helm.template("--set", "pools=null") == helm.template("--set", "pools.cpu=null")


@pytest.mark.parametrize("chart", NAMES)
def test_each_section_can_be_set_to_null(chart: str, reusing: Callable[[str, Object], Helm]) -> None:
    sections = nested({path: value for path, value in unset(chart).items() if "." in path})
    sections.pop("poolDefaults", None)
    nulls = sets(*(f"{section}=null" for section in sections))
    assert Helm(chart).template(*nulls) == reusing(chart, defaults(chart) | sections).template()


def test_null_means_nothing_where_nothing_is_allowed() -> None:
    platform = Helm("gristmill-platform").documents(*sets("s3.existingSecret=null", "rbac.kfpArtifactSecret=null"))
    assert "secretKeyRef" not in str(platform)
    assert all("secrets" not in rule["resources"] for rule in one(platform, "Role", "gristmill-pipeline")["rules"])
    serving = Helm("gristmill-serving").documents(*sets("resources=null"), release="mill")
    (container,) = one(serving, "Deployment", "mill")["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == {}


def test_null_turns_off_nothing_that_protects_and_gives_a_number_its_default() -> None:
    nulls = sets("networkPolicy.enabled=null", "trial.enabled=null", "replicas=null", "drain.generationSeconds=null")
    assert Helm("gristmill-serving").template(*nulls) == Helm("gristmill-serving").template()
    nulls = sets("networkPolicy=null", "poolDefaults.maxRestarts=null", "rbac.train=null", "limitRange=null")
    assert Helm("gristmill-platform").template(*nulls) == Helm("gristmill-platform").template()


def test_null_takes_away_what_an_earlier_file_of_values_set(tmp_path: Path) -> None:
    base, later = tmp_path / "base.yaml", tmp_path / "later.yaml"
    big = {"resources": {"requests": {"cpu": 4}, "limits": {"memory": "8Gi"}}, "nodeSelector": {"disk": "fast"}}
    base.write_text(yaml.safe_dump({"pools": {"big": big, "old": big}, "commonLabels": {"team": "a"}}))
    nulls = {"resources": {"limits": {"memory": None}}, "nodeSelector": None, "maxRestarts": None}
    later.write_text(yaml.safe_dump({"pools": {"big": nulls, "old": None}, "commonLabels": {"team": None}}))
    left = tmp_path / "left.yaml"
    left.write_text(yaml.safe_dump({"pools": {"big": {"resources": {"requests": {"cpu": 4}, "limits": {}}}}}))
    helm = Helm("gristmill-platform")
    assert helm.template("--values", base, "--values", later) == helm.template("--values", left)


@pytest.mark.parametrize("chart", NAMES)
def test_null_in_a_selector_is_refused_since_an_empty_selector_selects_everything(chart: str) -> None:
    peer = '{"namespaceSelector": {"matchLabels": {"team": null}}}'
    refusal = Helm(chart).refusal("--set-json", f'networkPolicy.extraEgress=[{{"to": [{peer}]}}]')
    assert "/to/0/namespaceSelector/matchLabels/team': got null, want string" in refusal


def test_dns_of_every_namespace_cannot_be_reached_by_nulls() -> None:
    labels = '{"kubernetes.io/metadata.name": null, "other": null}'
    refusal = Helm("gristmill-platform").refusal("--set-json", f"networkPolicy.dnsNamespaceLabels={labels}")
    assert "at '/networkPolicy/dnsNamespaceLabels/other': got null, want string" in refusal


@pytest.mark.parametrize(
    ("chart", "newer"),
    [
        ("gristmill-serving", ["autoscaling", "trial.timeoutSeconds", "networkPolicy.extraEgress", "threads"]),
        ("gristmill-platform", ["limitRange", "poolDefaults.deadlineSeconds", "networkPolicy.s3Cidrs", "rbac.kfp"]),
    ],
)
def test_a_release_of_a_chart_before_a_new_key_upgrades_with_the_values_that_it_has(
    chart: str, newer: list[str], reusing: Callable[[str, Object], Helm]
) -> None:
    assert reusing(chart, defaults(chart, *newer)).template() == Helm(chart).template()


def test_a_key_that_is_gone_is_refused_with_the_way_to_upgrade(reusing: Callable[[str, Object], Helm]) -> None:
    values = defaults("gristmill-serving")
    values["autoscaling"]["pollingSeconds"] = 15
    refusal = reusing("gristmill-serving", values).refusal()
    assert (
        "error: autoscaling.pollingSeconds is no longer a value of this chart. KEDA asks the pods every 5 s." in refusal
    )
    assert "upgraded with --reset-then-reuse-values, not with --reuse-values" in refusal
    assert "--set autoscaling.pollingSeconds=null" in refusal


def test_a_key_that_is_gone_can_be_taken_out_of_the_values_of_a_release(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("autoscaling: {pollingSeconds: 2}\ndrain: {idleSeconds: 3}\n")
    helm = Helm("gristmill-serving")
    assert "error: autoscaling.pollingSeconds is no longer a value" in helm.refusal("--values", mine)
    gone = sets("autoscaling.pollingSeconds=null", "drain.idleSeconds=null")
    assert helm.template("--values", mine, *gone) == helm.template()


@pytest.mark.parametrize("chart", NAMES)
def test_lint_takes_nulls_and_the_values_of_an_earlier_chart(
    chart: str, reusing: Callable[[str, Object], Helm]
) -> None:
    nulls = sets("s3.endpoint=null", "image.tag=null", "networkPolicy.enabled=null")
    assert (done := Helm(chart).run("lint", "--strict", CHARTS / chart, *nulls)).returncode == 0, done.stdout
    earlier = reusing(chart, defaults(chart, "networkPolicy.extraEgress", "verifySecrets"))
    assert (done := earlier.run("lint", "--strict", earlier.chart)).returncode == 0, done.stdout


@pytest.mark.parametrize("chart", NAMES)
def test_every_template_completes_the_values_first(chart: str) -> None:
    for template in sorted((CHARTS / chart / "templates").rglob("*")):
        if template.suffix in (".yaml", ".txt"):
            assert template.read_text().startswith(f'{{{{- include "{chart}.complete" . '), template.name


def test_every_upgrade_that_a_page_or_a_note_shows_takes_the_new_defaults() -> None:
    pages = [*CHARTS.parent.glob("docs/**/*.md"), *CHARTS.glob("*/README.md"), *CHARTS.glob("*/templates/NOTES.txt")]
    upgrades = [
        (page.name, line) for page in pages for line in page.read_text().splitlines()
        if re.search(r"helm .*upgrade .*reuse-values", line)
    ]  # fmt: skip
    assert {name for name, _ in upgrades} >= {"platform.md", "README.md", "NOTES.txt"}
    assert [line for _, line in upgrades if "--reset-then-reuse-values" not in line] == []
