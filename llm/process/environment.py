"""The environment of a child of ours: what the working directory or another launcher holds must not change it.

* Python puts the working directory in front of its libraries for `python -m`: a `random.py` there, or a package `llm`,
  would be imported in place of what we mean. PYTHONSAFEPATH leaves it out. PYTHONPATH is kept, behind our own package.
* torchrun reads an option from every variable PET_*: those of another launcher would make ours wait for its nodes.
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Mapping
from pathlib import Path

TORCHRUN_PREFIX = "PET_"
PACKAGES = Path(__file__).resolve().parents[2]
"""The folder that the package `llm` of this process lies in."""


def of_a_child(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment (or the given one) as a child of ours may have it."""
    kept = os.environ if environment is None else environment
    return {
        **{name: value for name, value in kept.items() if not name.startswith(TORCHRUN_PREFIX)},
        **safe_path(kept.get("PYTHONPATH", "")),
    }


def safe_path(python_path: str = "") -> dict[str, str]:
    """Variables with which a child finds this package and PYTHONPATH, and nothing of its working directory."""
    places = [place for place in python_path.split(os.pathsep) if place]
    if str(PACKAGES) not in (*places, sysconfig.get_path("purelib")):
        places.insert(0, str(PACKAGES))
    return {"PYTHONSAFEPATH": "1"} | ({"PYTHONPATH": os.pathsep.join(places)} if places else {})
