"""Pages that are made from the code are not stale."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[3]


def test_the_generated_pages_are_fresh():
    checked = subprocess.run(
        [sys.executable, PROJECT / "scripts" / "make_reference.py", "--check"], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr
