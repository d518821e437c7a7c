"""Pin what each image installs: `images/<name>/requirements.txt` (`make lock`; `--check` fails when one is stale).

A lock is the closure of the image's extras, and nothing else: the graph comes from the metadata of the environment
that runs this, the versions from `requirements/lock.txt`. What images share has a list of its own, in
`images/common` and `images/torch`; it follows from theirs. An image with pins of its own (Triton needs another numpy)
starts from those; where both know a distribution its own pin wins, and must satisfy whoever requires it.
Markers are taken for this Python, which must be the images' own, and for Linux on x86_64.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[1]
IMAGES = PROJECT / "images"
LOCK = "requirements/lock.txt"
PYTHON = "3.11"
"""The images' Python."""
CUDA = ("nvidia-", "cuda-", "triton", "pytorch-triton")
"""What only a CUDA build of torch requires."""
LINUX = {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64", "os_name": "posix"}


class LockError(Exception):
    """The environment, the pins and the requirements contradict one another."""


def main() -> int:
    """Write every lock, or with --check say which are stale; 1 if there is such a one, 2 if none can be made."""
    try:
        stale = _locks(check="--check" in sys.argv[1:])
    except LockError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for path in stale:
        print(f"error: {path.relative_to(PROJECT)} is stale; `make lock` writes it again", file=sys.stderr)
    return 1 if stale else 0


def _locks(*, check: bool) -> list[Path]:
    """Write every lock, or give those that are stale; raises LockError."""
    if (here := default_environment()["python_version"]) != PYTHON:
        raise LockError(f"this is Python {here}, and the images have {PYTHON}: run it in an environment of that one")
    stale = []
    described = images()
    locks = {name: lock(name, image) for name, image in described.items()}
    for name, wanted in {**locks, **shared(described, locks)}.items():
        path = IMAGES / name / "requirements.txt"
        if check and (not path.is_file() or path.read_text() != wanted):
            stale.append(path)
        elif not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(wanted)
    return stale


def images() -> dict[str, dict[str, Any]]:
    """The images by name, as `images/images.toml` describes them."""
    return tomllib.loads((IMAGES / "images.toml").read_text())


def lock(name: str, image: Mapping[str, Any]) -> str:
    """Text of one image's requirements.txt; raises LockError if a pin is missing or does not satisfy a requirement."""
    ours = _pins(PROJECT / LOCK)
    own = _pins(PROJECT / image["pins"]) if "pins" in image else {}
    wanted = {**own}
    for distribution in closure(_roots(image), {**ours, **own}):
        if distribution not in wanted:
            wanted[distribution] = ours[distribution]
    base = image.get("pins", LOCK)
    header = f"# Pinned for the image {name}: `make lock` makes this from images/images.toml and {base}.\n"
    return header + "".join(f"{key}=={version}\n" for key, version in sorted(wanted.items()))


def shared(described: Mapping[str, Mapping[str, Any]], locks: Mapping[str, str]) -> dict[str, str]:
    """Texts of the lists of what images share, by name: what all of them need, then what those with torch need."""
    layers = {name: image["shares"] for name, image in described.items() if "shares" in image}
    common = _in_all(locks[name] for name in layers)
    torch = _in_all(locks[name] for name, layer in layers.items() if layer == "torch")
    return {
        name: f"# What {', '.join(names)} share: `make lock` makes this from their lists.\n" + "".join(lines)
        for name, names, lines in (
            ("common", list(layers), sorted(common)),
            ("torch", [name for name, layer in layers.items() if layer == "torch"], sorted(torch - common)),
        )
    }


def _in_all(locks: Iterable[str]) -> set[str]:
    lines = [{line for line in lock.splitlines(keepends=True) if not line.startswith("#")} for lock in locks]
    return set.intersection(*lines)


def closure(roots: Iterable[Requirement], pins: Mapping[str, str]) -> set[str]:
    """Every distribution that the roots require, at any depth; raises LockError for one without a fitting pin."""
    found: set[str] = set()
    queue = list(roots)
    seen: set[tuple[str, frozenset[str]]] = set()
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        _check(requirement, name, pins)
        if (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        found.add(name)
        queue += _required_by(name, requirement.extras)
    return found


def _check(requirement: Requirement, name: str, pins: Mapping[str, str]) -> None:
    if name not in pins:
        raise LockError(f"{requirement} is wanted, and nothing pins it: run `make setup`, then `make lock`")
    if not requirement.specifier.contains(pins[name], prereleases=True):
        raise LockError(f"{name}=={pins[name]} is pinned, and something requires {requirement}")


def _required_by(name: str, extras: Iterable[str]) -> Iterator[Requirement]:
    try:
        lines = requires(name) or []
    except PackageNotFoundError as error:
        raise LockError(f"{name} is not installed here: run `make setup`") from error
    environment = {**default_environment(), **LINUX}
    for line in lines:
        requirement = Requirement(line)
        asked = [{**environment, "extra": extra} for extra in ("", *extras)]
        if name == "torch" and requirement.name.startswith(CUDA):
            continue  # the CUDA build of torch wants these, and the lock serves either build
        if requirement.marker is None or any(requirement.marker.evaluate(one) for one in asked):
            yield requirement


def _roots(image: Mapping[str, Any]) -> Iterator[Requirement]:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    for line in project["dependencies"] if image.get("dependencies", True) else ():
        yield Requirement(line)
    for extra in image.get("extras", ()):
        for line in project["optional-dependencies"][extra]:
            yield Requirement(line)
    for line in image.get("packages", ()):
        yield Requirement(line)


def _pins(path: Path) -> dict[str, str]:
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    pairs = (line.split("==") for line in lines if line)
    return {canonicalize_name(name): version for name, version in pairs}


if __name__ == "__main__":
    sys.exit(main())
