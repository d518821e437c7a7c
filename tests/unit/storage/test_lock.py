"""One process at a time in a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from llm.errors import BusyError
from llm.storage import only_process_in


def test_a_second_process_is_refused_and_the_holder_named(tmp_path: Path):
    with only_process_in(tmp_path):
        script = (
            "import sys; from pathlib import Path; from llm.storage import only_process_in\n"
            "with only_process_in(Path(sys.argv[1])): pass"
        )
        second = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert second.returncode != 0
    assert f"another run works in {tmp_path} (process {os.getpid()})" in second.stderr


def test_the_folder_is_free_again_afterwards(tmp_path: Path):
    with only_process_in(tmp_path):
        pass
    with only_process_in(tmp_path):
        pass


def test_the_lock_is_not_reentrant(tmp_path: Path):
    with only_process_in(tmp_path), pytest.raises(BusyError, match=r"run\.name"), only_process_in(tmp_path):
        pass
