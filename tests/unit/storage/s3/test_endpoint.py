"""The endpoint that is named is the one that is asked, and the setting that is named is where it comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm.errors import OutageError
from llm.storage import open_objects
from llm.storage.s3 import client as client_module
from llm.storage.s3.objects import S3Objects

DEAD = "http://127.0.0.1:9"  # the port of `discard`, where nobody listens
PROFILE = f"""[profile lab]
endpoint_url = {DEAD}/
region = eu-west-1
"""
SERVICES = f"""[default]
services = mine
[services mine]
s3 =
  endpoint_url = {DEAD}
"""


@pytest.fixture
def nothing_set(s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Keys and a region, and no endpoint; returns where a configuration file may be written."""
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setattr(client_module, "ATTEMPTS", 1)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return tmp_path / "config"


def refused() -> str:
    with pytest.raises(OutageError) as error:
        open_objects("s3://bucket/store").read("x")
    return str(error.value)


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_a_variable_is_named(nothing_set: Path, monkeypatch: pytest.MonkeyPatch, variable: str):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv(variable, DEAD)
    told = refused()
    assert f"S3 bucket bucket at {DEAD} does not answer" in told
    assert f"Check {variable}, and whether" in told


def test_a_profile_is_named_with_its_file(nothing_set: Path, monkeypatch: pytest.MonkeyPatch):
    nothing_set.write_text(PROFILE)
    monkeypatch.setenv("AWS_PROFILE", "lab")
    told = refused()
    assert f"S3 bucket bucket at {DEAD}/ does not answer" in told
    assert f"Check endpoint_url of profile lab in {nothing_set}" in told


def test_a_service_of_the_file_is_named(nothing_set: Path):
    nothing_set.write_text(SERVICES)
    told = refused()
    assert f"S3 bucket bucket at {DEAD} does not answer" in told
    assert f"endpoint_url of profile default in {nothing_set}" in told


def test_variables_that_are_ignored_are_not_asked(nothing_set: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", DEAD)
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    place = S3Objects.at("s3://bucket/store").place
    assert str(place) == "S3 bucket bucket at AWS"
    assert place.setting == "AWS_ENDPOINT_URL (it is not set, so AWS is asked)"


def test_only_a_server_of_ones_own_is_addressed_by_path(nothing_set: Path, monkeypatch: pytest.MonkeyPatch):
    assert "addressing_style" not in (client_module.client().meta.config.s3 or {})  # type: ignore[attr-defined]
    nothing_set.write_text(SERVICES)
    monkeypatch.setenv("AWS_REGION", "eu-west-3")  # another client
    assert client_module.client().meta.config.s3["addressing_style"] == "path"  # type: ignore[attr-defined]


def test_a_proxy_that_is_not_there_is_named(nothing_set: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://s3.example.invalid")
    monkeypatch.setenv("HTTP_PROXY", DEAD)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    told = refused()
    assert "the proxy does not answer" in told
    assert "HTTP_PROXY" in told
