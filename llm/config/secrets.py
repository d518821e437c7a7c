"""Passwords in addresses: a text that is shown, logged or sent holds none."""

from __future__ import annotations

import re

SECRET = re.compile(r"(?<=://)[^/\s@'\"]+(?=@)")
"""User and password in a URI."""


def without_secrets(text: str) -> str:
    """The same text with user and password left out of every URI in it: fit to be shown, logged and sent on."""
    return SECRET.sub("…", text)
