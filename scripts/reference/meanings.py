"""What the fields of our models mean: the text below each in the source.

pydantic itself reads this text where a model asks for it (`use_attribute_docstrings`). It then reads the source of
every model in every process: a quarter of the time that a step takes to start. Only the pages need the text.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from contextlib import suppress
from functools import cache
from itertools import pairwise

from pydantic import BaseModel


def describe(model: type[BaseModel]) -> None:
    """Give the fields of a model, and of all that derive from it so far, their text as `description`."""
    meanings: dict[str, str] = {}
    for parent in reversed(model.__mro__):
        if issubclass(parent, BaseModel) and parent is not BaseModel:
            meanings |= _own(parent)
    for name, field in model.model_fields.items():
        field.description = field.description or meanings.get(name)
    for derived in model.__subclasses__():
        describe(derived)


@cache
def _own(model: type[BaseModel]) -> dict[str, str]:
    """The texts below the fields that the class itself has; none where its source is gone."""
    with suppress(OSError, TypeError):  # of a file, or of a module, that is gone
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
        assert isinstance(node, ast.ClassDef)
        return {
            field.target.id: inspect.cleandoc(text.value.value)
            for field, text in pairwise(node.body)
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
            if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
        }
    return {}
