"""What follows from a chart's values.yaml: its schema, its README's table, and what a key means that is missing.

A key has a comment `# -- …` (meaning, default, when to set it). Lines `# @schema …` below the comment say what the type
of the default does not: the name of a type of charts/definitions.yaml, or keywords of JSON Schema as a YAML flow
mapping without its braces. A key whose children have comments is a section. A line `# @gone KEY: REMEDY` names a key
that earlier charts had.

No key is required. Helm removes a key that a user sets to null, and `--reuse-values` lacks the keys that are newer than
the release; the templates fill both from files/keys.yaml. There a missing key means "nothing" (the empty text, list or
map) where nothing is allowed, and its default elsewhere.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

CHARTS = Path(__file__).resolve().parents[2] / "charts"
NAMES = ("gristmill-platform", "gristmill-serving")
TYPES = {str: "string", bool: "boolean", int: "integer", list: "array", dict: "object"}
OPENS = {"properties": "object", "patternProperties": "object", "items": "array"}
KEYS_HEADER = """\
# Made from values.yaml by `make reference`. `unset` says what a key means that is null or missing; `gone` names the
# keys of earlier charts that are no longer read.
"""
TABLE = ("<!-- values -->\n", "<!-- /values -->")

Schema = dict[str, Any]


@dataclass
class Key:
    """One key of a values.yaml: its path, its value there, and what its comments say."""

    path: tuple[str, ...]
    value: Any
    said: str
    schema: Schema = field(default_factory=dict)


def pages() -> Iterator[tuple[Path, str]]:
    """Path and content of every page that follows from a values.yaml."""
    definitions = yaml.safe_load((CHARTS / "definitions.yaml").read_text())
    for name in NAMES:
        chart = CHARTS / name
        text = (chart / "values.yaml").read_text()
        found, gone = keys(text), gone_keys(text)
        written = schema(name, found, gone, definitions)
        yield chart / "values.schema.json", json.dumps(written, indent=2, ensure_ascii=False) + "\n"
        unset = {".".join(key.path): unset_value(key, written) for key in leaves(found)}
        rows = (f"{kind}:{_lines(entries)}\n" for kind, entries in (("unset", unset), ("gone", gone)))
        yield chart / "files" / "keys.yaml", KEYS_HEADER + "".join(rows)
        yield chart / "README.md", with_table((chart / "README.md").read_text(), leaves(found))


def keys(text: str) -> list[Key]:
    """Every key with a comment, sections too, in the order of the file. ValueError for a key without a comment."""
    found: dict[tuple[str, ...], Key] = {}
    values = yaml.safe_load(text)
    place: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            comment.append(stripped.removeprefix("#").strip())
        elif not stripped:
            comment = []
        else:
            indent = len(line) - len(line.lstrip())
            place = [(depth, key) for depth, key in place if depth < indent]
            place.append((indent, stripped.partition(":")[0]))
            path = tuple(key for _, key in place)
            if comment and comment[0].startswith("-- "):
                found[path] = _key(path, values, comment)
            comment = []
    for path in _documented_paths(values, found):
        if path not in found:
            raise ValueError(f"values.yaml: {'.'.join(path)} has no comment `# -- …`")
    return list(found.values())


def leaves(found: list[Key]) -> list[Key]:
    """The keys that are no sections."""
    sections = {key.path[:-1] for key in found}
    return [key for key in found if key.path not in sections]


def gone_keys(text: str) -> dict[str, str]:
    """Keys of earlier charts, each with what holds now."""
    return dict(re.findall(r"^# @gone ([\w.]+): (.+)$", text, re.MULTILINE))


def schema(name: str, found: list[Key], gone: dict[str, str], definitions: Schema) -> Schema:
    """The JSON Schema (draft 7) of a chart's values."""
    properties: Schema = {
        "global": {"description": "Helm gives it to every subchart; this chart reads nothing of it.", "type": "object"}
    }
    ends = {key.path for key in leaves(found)}
    referred = {name for key in found for name in re.findall(r"#/properties/(\w+)", json.dumps(key.schema))}
    for key in found:
        level = _level(properties, key.path)
        if key.path in ends:
            level[key.path[-1]] = _of_key(key, definitions, nullable=key.path[0] in referred)
        else:
            kind: Any = ["object", "null"] if key.path[0] in referred else "object"
            level[key.path[-1]] = {"description": key.said, "type": kind, "properties": {}}
    for path, remedy in gone.items():
        parts = tuple(path.split("."))
        _level(properties, parts)[parts[-1]] = {"description": f"Gone. {remedy}"}
    whole = _strict({"title": f"Values of the chart {name}", "type": "object", "properties": properties})
    used = _used(whole, definitions)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#", **_pointed(whole),
        "definitions": {each: _pointed(_strict(definitions[each])) for each in definitions if each in used},
    }  # fmt: skip


def unset_value(key: Key, whole: Schema) -> Any:
    """What a key means that is missing: nothing, where the schema takes nothing; its default elsewhere."""
    node = _level(whole["properties"], key.path)[key.path[-1]]
    if isinstance(key.value, str):
        nothing = re.search(node.get("pattern", ""), "") and not node.get("minLength") and "enum" not in node
        return "" if nothing else key.value
    if isinstance(key.value, list | dict):
        limit = node.get("minItems") or node.get("minProperties")
        return key.value if limit else type(key.value)()
    return key.value


def with_table(readme: str, found: list[Key]) -> str:
    """A README with a fresh table of values."""
    begin, end = TABLE
    before, _, rest = readme.partition(begin)
    rows = [
        f"| `{'.'.join(key.path)}` | `{json.dumps(key.value)}` | {key.said.replace('|', chr(92) + '|')} |"
        for key in found
    ]
    table = "\n".join(["| key | value | meaning |", "| --- | --- | --- |", *rows])
    return before + begin + table + "\n" + end + rest.partition(end)[2]


def _key(path: tuple[str, ...], values: Any, comment: list[str]) -> Key:
    said, rules = [], Schema()
    for line in comment:
        if line.startswith("@schema "):
            rule = line.removeprefix("@schema ")
            rules |= {"$ref": rule} if re.fullmatch(r"\w+", rule) else yaml.safe_load(f"{{{rule}}}")
        else:
            said.append(line.removeprefix("-- "))
    value = values
    for part in path:
        value = value[part]
    return Key(path, value, " ".join(said), rules)


def _documented_paths(values: Schema, found: dict[tuple[str, ...], Key]) -> Iterator[tuple[str, ...]]:
    """Paths that must have a comment: every top key, and all keys of a section."""
    sections = {path[:-1] for path in found if len(path) > 1}
    for name, value in values.items():
        yield (name,)
        if (name,) in sections:
            yield from ((name, key) for key in value)


def _of_key(key: Key, definitions: Schema, nullable: bool) -> Schema:
    """The schema of one key, with the named type written out: so a refusal names the key and nothing around it."""
    node = copy.deepcopy(key.schema)
    if "$ref" in node:
        node = {**copy.deepcopy(definitions[node.pop("$ref")]), **node}
    kind = node.setdefault("type", TYPES.get(type(key.value)))
    takes_anything = {"array": "items" not in node, "object": not {*OPENS, "additionalProperties"} & set(node)}
    if takes_anything.get(str(kind)):
        raise ValueError(f"values.yaml: {'.'.join(key.path)} would take anything: `# @schema` must say what it takes")
    if nullable:
        node["type"] = [*([kind] if isinstance(kind, str) else kind), "null"]
    return {**node, "description": key.said}


def _level(properties: Schema, path: tuple[str, ...]) -> Schema:
    """The properties among which the last part of a path stands."""
    for part in path[:-1]:
        properties = properties[part]["properties"]
    return properties


def _strict(node: Any) -> Any:
    """A schema in which an object with `properties` has its type and takes no other key."""
    if isinstance(node, list):
        return [_strict(each) for each in node]
    if not isinstance(node, dict):
        return node
    names = ("properties", "patternProperties", "dependencies", "definitions")
    strict = {
        key: {name: _strict(inner) for name, inner in value.items()} if key in names else _strict(value)
        for key, value in node.items()
    }
    for key, kind in OPENS.items():
        if key in strict:
            strict.setdefault("type", kind)
    if "properties" in strict:
        strict.setdefault("additionalProperties", False)
    return strict


def _used(node: Any, definitions: Schema) -> set[str]:
    """Names of the definitions that a schema refers to, directly or not."""
    used: set[str] = set()
    new = set(re.findall(r'"\$ref": "(\w+)"', json.dumps(node)))
    while new:
        used |= new
        new = {name for each in new for name in re.findall(r'"\$ref": "(\w+)"', json.dumps(definitions[each]))} - used
    return used


def _pointed(node: Any) -> Any:
    """A schema whose references are those of JSON Schema."""
    return json.loads(re.sub(r'"\$ref": "(\w+)"', r'"$ref": "#/definitions/\1"', json.dumps(node)))


def _lines(entries: dict[str, Any]) -> str:
    """Entries of a YAML mapping, one a line, each value as JSON."""
    lines = [f"  {key}: {json.dumps(value, ensure_ascii=False)}" for key, value in entries.items()]
    return "\n" + "\n".join(lines) if lines else " {}"
