"""Three tests in ten look at failure: what is refused, breaks, is cut or killed."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parents[1]
SIGNS = ("raises(", "'error:", "exit_code", ".code ==", "returncode !=", "refusal(", "Refused", "SystemExit", "kill")
"""What a test of a failure has in it: an error that it expects, an exit code, a kill."""
WANTED = 0.30


def test_three_tests_in_ten_look_at_failure() -> None:
    bodies = [
        ast.unparse(node)
        for path in TESTS.rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    failures = sum(any(sign.lower() in body.lower() for sign in SIGNS) for body in bodies)
    assert failures >= WANTED * len(bodies), f"{failures} of {len(bodies)} tests look at failure"
