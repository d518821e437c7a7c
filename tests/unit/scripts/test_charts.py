"""What scripts/reference/charts.py makes of a values.yaml, and what it refuses."""

from __future__ import annotations

import pytest

from scripts.reference import charts
from scripts.reference.charts import Schema

VALUES = """\
# @gone store.keep: Nothing is kept.

# -- The store. It is a section.
store:
  # -- Address. Default: none. Set it to
  # a | b.
  # @schema pattern: '^(https?://.+)?$'
  uri: ""
  # -- Copies. Default: 2.
  # @schema minimum: 1
  copies: 2
  # -- Owners. Default: one.
  # @schema items: {$ref: owner}, minItems: 1
  owners: [us]
  # -- Room. Default: 1 Gi.
  # @schema room
  room: {disk: 1Gi}
# -- A kind. Default: small.
# @schema enum: [small, large]
kind: small
"""
DEFINITIONS: Schema = {
    "owner": {"type": "string", "minLength": 2},
    "room": {"properties": {"disk": {"$ref": "size"}}},
    "size": {"type": "string"},
    "unused": {"type": "string"},
}


@pytest.fixture
def made() -> Schema:
    found = charts.keys(VALUES)
    return charts.schema("toy", found, charts.gone_keys(VALUES), DEFINITIONS)


def test_the_schema_has_the_type_of_the_default_the_words_of_the_comment_and_what_it_cannot_say(made: Schema) -> None:
    store = made["properties"]["store"]
    assert store["properties"]["copies"] == {"minimum": 1, "type": "integer", "description": "Copies. Default: 2."}
    assert store["properties"]["owners"]["items"] == {"$ref": "#/definitions/owner"}
    assert store["properties"]["keep"] == {"description": "Gone. Nothing is kept."}
    assert made["properties"]["kind"]["enum"] == ["small", "large"]
    assert set(made["definitions"]) == {"owner", "size"}, "what nothing refers to stays away"


def test_an_object_takes_no_unknown_key_and_no_key_is_required(made: Schema) -> None:
    store = made["properties"]["store"]
    assert made["additionalProperties"] is store["additionalProperties"] is False
    assert store["properties"]["room"]["additionalProperties"] is False
    assert "required" not in made
    assert "required" not in store


def test_a_missing_key_means_nothing_where_nothing_is_allowed_and_its_default_elsewhere(made: Schema) -> None:
    leaves = charts.leaves(charts.keys(VALUES))
    assert {".".join(key.path): charts.unset_value(key, made) for key in leaves} == {
        "store.uri": "", "store.copies": 2, "store.owners": ["us"], "store.room": {}, "kind": "small",
    }  # fmt: skip


def test_the_table_has_a_row_for_each_key_but_sections_and_a_bar_does_not_end_a_cell() -> None:
    readme = "# Toy\n<!-- values -->\nold\n<!-- /values -->\nafter\n"
    fresh = charts.with_table(readme, charts.leaves(charts.keys(VALUES)))
    assert '| `store.uri` | `""` | Address. Default: none. Set it to a \\| b. |\n' in fresh
    assert "`store` |" not in fresh
    assert fresh.endswith("<!-- /values -->\nafter\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\n", r"values\.yaml: a has no comment"),
        ("# -- A section.\na:\n  # -- One. Default: 1.\n  b: 1\n  c: 2\n", r"values\.yaml: a\.c has no comment"),
        ("# A remark.\na: 1\n", r"values\.yaml: a has no comment"),
    ],
)
def test_a_key_without_a_comment_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        charts.keys(text)


@pytest.mark.parametrize("value", ["[]", "{}"])
def test_a_list_or_map_that_would_take_anything_is_refused(value: str) -> None:
    found = charts.keys(f"# -- Anything. Default: none.\na: {value}\n")
    with pytest.raises(ValueError, match=r"values\.yaml: a would take anything: `# @schema` must say what it takes"):
        charts.schema("toy", found, {}, {})


@pytest.mark.parametrize("chart", charts.NAMES)
def test_each_comment_of_a_chart_says_what_the_default_is(chart: str) -> None:
    found = charts.keys((charts.CHARTS / chart / "values.yaml").read_text())
    assert [key.path for key in charts.leaves(found) if "Default: " not in key.said] == []
