"""The laws of a store (tests/cases/storage.py), held by a real S3 server as this machine and as a pod reach it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llm.storage import FileEntry, open_objects
from tests.cases.cluster import apply, phase, pod_log, restricted_pod, wait_for
from tests.cases.storage import BucketLaws

IN_A_POD = """
import os, pathlib
from llm.storage import open_objects
objects, here = open_objects(os.environ["STORE"]), pathlib.Path("/tmp/model.bin")
content = bytes(range(256)) * (40 << 12)
here.write_bytes(content)
entry = objects.put(here, "model.bin")
assert objects.problem(entry) is None
assert objects.fetch(entry, pathlib.Path("/tmp/into")).read_bytes() == content
assert objects.write("champion", b"one", if_absent=True)
assert not objects.write("champion", b"two", if_absent=True)
assert objects.read("champion") == b"one"
print(entry.model_dump_json())
"""


@pytest.fixture
def s3(store_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """URI of an empty store of the test's own, and an empty cache."""
    monkeypatch.setenv("GRISTMILL_CACHE", str(tmp_path / "cache"))
    return f"{store_uri}/{os.urandom(4).hex()}"


class TestServer(BucketLaws):
    """From this machine."""


def test_a_pod_puts_and_fetches_a_file_in_parts_and_writes_what_is_absent_and_this_machine_sees_both(
    namespace: str, s3_secret: str, s3: str, images: dict[str, str], pod_endpoint: str, tmp_path: Path
):
    given = {"STORE": s3, "AWS_ENDPOINT_URL": pod_endpoint, "AWS_REGION": os.environ.get("AWS_REGION", "us-east-1")}
    container = {
        "image": images["train"],
        "command": ["python", "-c", IN_A_POD],
        "env": [{"name": name, "value": value} for name, value in given.items()],
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "store"}, "spec": restricted_pod(container)}
    apply(namespace, pod)
    wait_for(lambda: phase(namespace, "store") in ("Succeeded", "Failed"), "the pod's end", 120)
    log = pod_log(namespace, "store")
    assert phase(namespace, "store") == "Succeeded", log
    objects, entry = open_objects(s3), FileEntry.model_validate_json(log.splitlines()[-1])
    assert entry.size_bytes == 40 << 20
    assert objects.fetch(entry, tmp_path / "into").read_bytes() == bytes(range(256)) * (40 << 12)
    assert not objects.write("champion", b"three", if_absent=True)
    assert objects.read("champion") == b"one"
