"""A home folder and a user name for a process that has none.

In many pods the user is a number that no password file knows, and HOME is not set. Great Expectations, torch and others
ask for both, and raise an error of their own in the middle of a run.
"""

from __future__ import annotations

import os
import pwd
import tempfile
from pathlib import Path

STAND_IN = "gristmill-home-"
"""The first characters of the temporary home's name; `~` never means it."""
NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")
"""Variables in which `getpass.getuser` looks for a name before it asks the password file."""


def home_folder() -> Path | None:
    """The user's home: HOME, else what the password file says; None if neither is there."""
    if named := os.environ.get("HOME"):
        return None if Path(named).name.startswith(STAND_IN) else Path(named)
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return None


def ensure_home() -> None:
    """Let this process and its children have a temporary home folder, and a name, where the system gives none.

    `~` in a setting is still refused: it would mean a folder that is gone with the pod.
    """
    if home_folder() is None:
        home = Path(tempfile.gettempdir()) / f"{STAND_IN}{os.getuid()}"
        home.mkdir(mode=0o700, exist_ok=True)
        os.environ["HOME"] = str(home)
    if not any(os.environ.get(name) for name in NAMES):
        try:
            pwd.getpwuid(os.getuid())
        except KeyError:
            os.environ["USER"] = f"uid{os.getuid()}"
