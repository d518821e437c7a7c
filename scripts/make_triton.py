"""Make `.venv-triton`: a real Triton server with what the model's backend needs (`make triton`).

NVIDIA's `nvidia-pytriton` wheel carries tritonserver and the stubs of its Python backend. The backend embeds Python,
so it needs a Python that has a shared library (libpython): `python3 scripts/make_triton.py [FOLDER]` uses its own.
"""

from __future__ import annotations

import ctypes.util
import platform
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
ENVIRONMENT = PROJECT / ".venv-triton"
REQUIREMENTS = PROJECT / "requirements" / "triton.txt"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def main() -> int:
    """Make the environment; 2 with the reason if this machine or Python cannot run Triton."""
    if (reason := unsuitable()) is not None:
        print(f"error: Triton cannot be installed here: {reason}", file=sys.stderr)
        return 2
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else ENVIRONMENT
    if not (root / "bin" / "python").exists():
        venv.create(root, with_pip=True)
    pip = [root / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    installed = subprocess.run([*pip, "--requirement", REQUIREMENTS], check=False)
    if installed.returncode:
        print(f"error: pip could not install {REQUIREMENTS}; its reason stands above", file=sys.stderr)
        return 2
    server = root / "lib" / f"python{VERSION}" / "site-packages" / "pytriton" / "tritonserver"
    stub = server / "python_backend_stubs" / VERSION / "triton_python_backend_stub"
    if not stub.is_file():
        print(f"error: this Triton has no stub for Python {VERSION}; set PYTHON=… to an older one", file=sys.stderr)
        return 2
    shutil.copy2(stub, server / "backends" / "python" / stub.name)
    (root / ".ready").touch()
    return 0


def unsuitable() -> str | None:
    """Why Triton cannot run with this machine and Python, or None."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return f"its wheel is for Linux on x86_64, and this is {platform.system()} on {platform.machine()}"
    library = Path(sysconfig.get_config_var("LIBDIR")) / f"libpython{VERSION}.so.1.0"
    if not library.is_file() and ctypes.util.find_library(f"python{VERSION}") is None:
        return (
            f"Python {VERSION} at {sys.executable} has no shared library (libpython{VERSION}.so);"
            f" install it (Debian: libpython{VERSION}), or set PYTHON=… to a Python that has one"
        )
    return None


if __name__ == "__main__":
    sys.exit(main())
