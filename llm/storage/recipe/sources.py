"""The code and the libraries that take part in a result: all modules that a step's module imports, at any depth.

Sources are read, never imported: a module of the training is followed on a machine without torch. Imports inside
functions count as well, and so does a module that a string names (`python -m llm.training.worker`). Imports for type
checkers alone do not count. The packages of `course` end the way. A module of no distribution is the user's own, and is
followed as ours are. Limit: a module that is chosen at run time by a name from the configuration is not found here;
the code that chooses it passes it as a further root.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from llm.errors import UserError
from llm.storage.hashes import sha256_of_file
from llm.storage.recipe.course import CARRIERS, OF_TORCH, is_course
from llm.storage.recipe.libraries import PINS, Pins, installed, spec_of, versions_of


@cache
def code_of(*roots: str) -> dict[str, str]:
    """SHA-256 (16 digits) of every source that these modules reach, by path such as `llm/data/readers.py`.

    It is kept for the life of the process: the code that runs is the code that was there when it began. Raises
    ValueError for a root that is not there.
    """
    return {_shown(module, path): sha256_of_file(path)[:16] for module, path in sorted(reached(*roots).items())}


def libraries_of(*roots: str) -> dict[str, str]:
    """Version of every distribution that these modules import, by its name; without a local `+cpu`.

    They are the installed ones, or those of another image (`libraries.pinned`).
    """
    return dict(_libraries_of(PINS.get(), *roots))


@cache
def _libraries_of(pins: Pins | None, *roots: str) -> dict[str, str]:
    names = {name for module, path in reached(*roots).items() for name in _libraries(module, path)}
    return {distribution: version for name in sorted(names) for distribution, version in versions_of(name).items()}


def check_sources(modules: Iterable[str]) -> None:
    """Raise UserError if a recipe could not hold the code of one of these modules."""
    for module in modules:
        try:
            code_of(module)
        except (ValueError, SyntaxError) as error:
            raise UserError(
                f"the code of {module} cannot be read: {error}",
                "Each recipe holds the code that makes the result. Keep the module as a .py file in a folder,"
                " not in an archive or compiled, and mend what it imports.",
            ) from error


def reached(*roots: str) -> dict[str, Path]:
    """Module and source of all that the roots reach, themselves included, wherever they are.

    Raises ValueError for a root that is not there.
    """
    found: dict[str, Path] = {}
    waiting = list(roots)
    for root in roots:
        if locate(root) is None:
            raise ValueError(f"no module {root}")
    while waiting:
        module = waiting.pop()
        if module in found or (is_course(module) and module not in roots):
            continue
        if (path := locate(module)) is not None and path.suffix == ".py":
            found[module] = path
            waiting += _own_modules(module, path)
    return found


def imported_by(module: str) -> list[str]:
    """Modules of the same top package, of ours or of no distribution that a module imports, but those of the course."""
    path = locate(module)
    if path is None:
        raise ValueError(f"no module {module}")
    return sorted({name for name in _own_modules(module, path) if not is_course(name)})


def _own_modules(module: str, path: Path) -> Iterator[str]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    ours = {"llm", module.partition(".")[0]}
    for name, members in _imports(path.read_bytes(), package, str(path)):
        top = name.partition(".")[0]
        if top in ours or _has_no_distribution(top):
            inner = [f"{name}.{member}" for member in members if locate(f"{name}.{member}") is not None]
            yield from inner
            if len(inner) < len(members) or not members:
                yield name


def locate(module: str) -> Path | None:
    """Source of a module, found without importing it; None if there is none."""
    top, *parts = module.split(".")
    spec = spec_of(top)
    if spec is None:
        return None
    if not parts:
        return Path(spec.origin) if spec.origin is not None and Path(spec.origin).is_file() else None
    parent = sys.modules.get(".".join((top, *parts[:-1])))
    inner = [Path(folder).joinpath(*parts[:-1]) for folder in spec.submodule_search_locations or ()]
    for folder in map(Path, getattr(parent, "__path__", None) or inner):
        for path in (folder / f"{parts[-1]}.py", folder / parts[-1] / "__init__.py"):
            if path.is_file():
                return path
    return None


def _has_no_distribution(top: str) -> bool:
    """Whether a top name is a source, or a folder of sources, that no package manager put there."""
    if not top or top in sys.stdlib_module_names or top in CARRIERS or installed(top):
        return False
    spec = spec_of(top)
    return spec is not None and (spec.origin is None or spec.origin.endswith(".py"))


def _libraries(module: str, path: Path) -> set[str]:
    """Top names of the libraries that a source imports, without Python's own, ours and the carriers."""
    names = {name.partition(".")[0] for name, _ in _imports(path.read_bytes(), module, str(path))}
    return names - {*sys.stdlib_module_names, *CARRIERS, *OF_TORCH, "llm", module.partition(".")[0]}


@cache
def _imports(source: bytes, package: str, file: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Every import of a source: the module, and the names that are taken from it; `package` resolves relative ones."""
    return tuple(_named(ast.parse(source, file), package))


def _named(node: ast.AST, package: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        for alternative in node.orelse:
            yield from _named(alternative, package)
        return
    match node:
        case ast.Import():
            yield from ((alias.name, ()) for alias in node.names)
        case ast.ImportFrom():
            yield _absolute(node, package), tuple(alias.name for alias in node.names)
        case ast.Constant(value=str(text)) if _is_ours(text):
            yield text, ()
    for child in ast.iter_child_nodes(node):
        yield from _named(child, package)


def _is_ours(text: str) -> bool:
    return text.startswith("llm.") and all(map(str.isidentifier, text.split("."))) and locate(text) is not None


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parents = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*parents, *([node.module] if node.module else [])])


def _shown(module: str, path: Path) -> str:
    return f"{module.replace('.', '/')}{'/__init__' if path.name == '__init__.py' else ''}.py"
