from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.data import Document
from llm.data.split import check_no_split_is_empty, split_of
from llm.errors import UserError

TEXTS = st.text(st.characters(codec="utf-8"), max_size=60)
SHARES = st.floats(0.01, 0.4)


@given(TEXTS, TEXTS, SHARES, SHARES)
def test_the_split_depends_on_the_text_alone(text: str, other: str, validation: float, test: float) -> None:
    one, two = Document(text, "a.txt", "prose"), Document(text, other, other, other, {"other": other})
    assert split_of(one, validation, test) == split_of(two, validation, test)


@given(st.lists(TEXTS, unique=True, max_size=20), st.randoms())
def test_the_order_of_the_documents_does_not_matter(texts: list[str], random: object) -> None:
    documents = [Document(text, "s", "d") for text in texts]
    before = {d.id: split_of(d, 0.1, 0.1) for d in documents}
    random.shuffle(documents)  # type: ignore[attr-defined]
    assert {d.id: split_of(d, 0.1, 0.1) for d in documents} == before


@given(TEXTS, SHARES, SHARES, st.floats(0.0, 0.2))
def test_a_larger_test_share_only_moves_documents_into_test(
    text: str, validation: float, test: float, more: float
) -> None:
    document = Document(text, "s", "d")
    if split_of(document, validation, test) == "test":
        assert split_of(document, validation, test + more) == "test"


@given(TEXTS, TEXTS, SHARES, SHARES)
def test_a_derived_document_goes_where_its_source_goes(text: str, made: str, validation: float, test: float) -> None:
    source = Document(text, "a.py", "code")
    derived = Document(made, "a.py#docstrings", "prose", meta={"derived_from": source.id})
    assert split_of(derived, validation, test) == split_of(source, validation, test)


def test_the_shares_are_met() -> None:
    places = [split_of(Document(f"text {number}", "s", "d"), 0.1, 0.2) for number in range(5000)]
    # 5000 draws: four standard deviations of a share are below 0.023
    assert places.count("validation") / 5000 == pytest.approx(0.1, abs=0.023)
    assert places.count("test") / 5000 == pytest.approx(0.2, abs=0.023)


def test_an_empty_split_is_refused_with_the_numbers() -> None:
    with pytest.raises(UserError, match=r"of 3 documents, none fell into validation and test\n.*3 for train, 0 for"):
        check_no_split_is_empty({"train": 3, "validation": 0, "test": 0})
    check_no_split_is_empty({"train": 1, "validation": 1, "test": 1})
