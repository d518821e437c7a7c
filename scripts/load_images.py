"""Load built images into a cluster that pulls from nowhere: kind, or a node whose containerd is on this machine.

    scripts/load_images.py [NAME…] [--kind CLUSTER | --containerd ADDRESS]

Without either it is the kind cluster that kubectl talks to. Both the tag and the digest resolve there afterwards: a
package is compiled with digests, and the kubelet looks for exactly the name that it is given. What a node has already
is not sent again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from oci_archive import digest_of, full_name

from llm.errors import GristmillError, UserError
from llm.images import NAMES, VARIANTS, Image, built, unbuilt

PROJECT = Path(__file__).resolve().parents[1]
CONTAINERD = "GRISTMILL_CONTAINERD"
"""Environment variable with the address of a node's containerd."""


def main() -> int:
    """Load what was asked for; 2 with the reason if that cannot be."""
    arguments = _arguments()
    try:
        images = built(PROJECT)
        if (reason := unbuilt(tuple(arguments.names), PROJECT)) is not None:
            if any(name not in images for name in arguments.names):
                raise UserError(reason, "Run `make images`.")
            print(f"warning: {reason}; run `make images`", file=sys.stderr)
        nodes = _nodes(arguments)
        for name in arguments.names:
            _load(images[name], nodes)
    except GristmillError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Load built images into a cluster.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)}; all of them if none is named")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--kind", metavar="CLUSTER", help="name of a kind cluster")
    where.add_argument("--containerd", metavar="ADDRESS", default=os.environ.get(CONTAINERD),
                       help=f"socket of a node's containerd (default: ${CONTAINERD})")  # fmt: skip
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(there := (*NAMES, *VARIANTS)):
        parser.error(f"there is no image {', '.join(sorted(unknown))}; there are {', '.join(there)}")
    if not (arguments.kind or arguments.containerd):
        arguments.kind = _kind_cluster()
    if not (arguments.kind or arguments.containerd):
        parser.error(f"name the cluster: --kind CLUSTER, or --containerd ADDRESS (or set {CONTAINERD})")
    arguments.names = arguments.names or list(NAMES)
    return arguments


def _kind_cluster() -> str | None:
    """The kind cluster that kubectl talks to, or None."""
    try:
        context = subprocess.run(["kubectl", "config", "current-context"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    prefix, _, cluster = context.stdout.strip().partition("-")
    return cluster if prefix == "kind" and cluster else None


def _load(image: Image, nodes: Sequence[Sequence[str]]) -> None:
    if image.archive is None or not (archive := PROJECT / image.archive).is_file():
        raise UserError(
            f"{image.reference} has no archive here", "It was pushed to a registry, or removed: run `make images`."
        )
    started = time.monotonic()
    sent = 0
    for ctr in nodes:
        if not _has(ctr, image):
            sent += _import(ctr, archive)
        _run([*ctr, "images", "tag", "--force", full_name(image.reference), full_name(image.pinned)])
    print(f"{image.pinned}  {sent / 1e6:,.0f} MB sent in {time.monotonic() - started:.0f} s", flush=True)


def _nodes(arguments: argparse.Namespace) -> list[list[str]]:
    """How containerd's client is called on each node of the cluster."""
    if not arguments.kind:
        return [["ctr", "--address", arguments.containerd, "--namespace", "k8s.io"]]
    names = _run(["kind", "get", "nodes", "--name", arguments.kind]).split()
    return [["docker", "exec", "--interactive", name, "ctr", "--namespace", "k8s.io"] for name in names]


def _has(ctr: Sequence[str], image: Image) -> bool:
    """Whether the node knows this image by tag already; another of that tag is replaced."""
    lines = _run([*ctr, "images", "ls", f"name=={full_name(image.reference)}"]).splitlines()[1:]
    return any(image.digest in line.split() for line in lines)


def _import(ctr: Sequence[str], archive: Path) -> int:
    """Import an archive without the blobs that the node has; returns the bytes that were sent."""
    there = set(_run([*ctr, "content", "ls", "--quiet"]).split())
    sent = 0
    with subprocess.Popen(
        [*ctr, "images", "import", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        with (
            suppress(BrokenPipeError),  # the node says why below
            process.stdin as pipe,
            tarfile.open(fileobj=pipe, mode="w|") as fewer,
            tarfile.open(archive) as whole,
        ):
            for entry in whole:
                if digest_of(entry.name) not in there:
                    fewer.addfile(entry, whole.extractfile(entry))
                    sent += entry.size
        said = process.stdout.read().decode(errors="replace").strip()
    if process.returncode:
        raise UserError(f"the node could not import {archive.name}: {said}")
    return sent


def _run(command: Sequence[str]) -> str:
    """Output of a command; raises UserError with its own words."""
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise UserError(f"{command[0]} is not installed") from error
    if answer.returncode:
        raise UserError(f"{command[0]} failed: {answer.stderr.strip() or answer.stdout.strip()}")
    return answer.stdout


if __name__ == "__main__":
    sys.exit(main())
