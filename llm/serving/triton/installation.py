"""The place where Triton is installed: an environment of its own, made by `make triton`.

NVIDIA's `nvidia-pytriton` wheel carries tritonserver and its Python backend. It needs numpy below 2, so it cannot
share the project's environment.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from llm.errors import UserError
from llm.telemetry import OFF

VARIABLE = "GRISTMILL_TRITON"
"""Environment variable with the path of Triton's virtual environment."""
IN_THE_PROJECT = Path(__file__).resolve().parents[3] / ".venv-triton"
LIBRARIES = "import site, sysconfig; print(sysconfig.get_config_var('LIBDIR')); print(site.getsitepackages()[0])"


@dataclass(frozen=True)
class Installation:
    """A virtual environment with tritonserver in it."""

    root: Path
    server: Path
    """Folder with `bin/tritonserver` and `backends/`."""

    def environment(self) -> dict[str, str]:
        """Environment for tritonserver: its Python backend embeds this virtual environment's Python."""
        answer = subprocess.run(
            [self.root / "bin" / "python", "-I", "-c", LIBRARIES], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        libraries, packages = answer
        not_its = ("PYTHON", "VIRTUAL_ENV", "AWS_")  # ours, and the keys of the store: it serves what was fetched
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(not_its)}
        return {
            **inherited,
            **OFF,
            "PATH": f"{self.root / 'bin'}:{os.environ.get('PATH', '')}",
            "LD_LIBRARY_PATH": libraries,
            "PYTHONPATH": packages,
            "PYTHONSAFEPATH": "1",
            "PYTHONDONTWRITEBYTECODE": "1",  # a served folder stays as its manifest says
        }


def find_installation() -> Installation:
    """The environment that GRISTMILL_TRITON names, or `.venv-triton` in the project's folder; raises UserError."""
    root = Path(os.environ.get(VARIABLE) or IN_THE_PROJECT).absolute()
    server = next(root.glob("lib/python*/site-packages/pytriton/tritonserver"), None)
    if server is None:
        raise UserError(
            f"Triton is not installed: there is none in {root}",
            f"`make triton` installs it. If it is elsewhere, set {VARIABLE} to its virtual environment.",
        )
    if not (server / "backends" / "python" / "triton_python_backend_stub").is_file():
        raise UserError(
            f"the Triton in {root} is incomplete: its Python backend has no stub", "Run `make triton` again."
        )
    return Installation(root, server)
