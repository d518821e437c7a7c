"""Products have names that people can read, beside their hashes."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm.errors import UserError
from llm.storage import Manifest, Objects, Recipe, Store
from llm.storage.names import give_name, resolved


def made(store: Store, text: str) -> Manifest:
    with store.stage("corpus", Recipe("ingest", {"text": text})) as stage:
        (stage.path / "x").write_text(text)
        return stage.commit()


def name(store: Store, product: Manifest, label: str = "wiki") -> str:
    return give_name(store.objects, "corpus", product.id, label)


@pytest.fixture(params=["folder", "s3"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(tmp_path / "store" if request.param == "folder" else f"{request.getfixturevalue('s3')}/store")


def test_each_product_of_a_run_has_a_number_and_keeps_it(any_store: Store):
    one, two = made(any_store, "1"), made(any_store, "2")
    assert [name(any_store, one), name(any_store, two), name(any_store, one)] == [
        "corpus/wiki@1",
        "corpus/wiki@2",
        "corpus/wiki@1",
    ]
    assert name(any_store, two, "books") == "corpus/books@1"
    assert resolved(f"{any_store.objects.uri}/names/corpus/wiki@2") == two.uri


def test_a_name_that_another_process_takes_meanwhile_is_not_taken_twice(tmp_path: Path, monkeypatch):
    store = Store(tmp_path / "store")
    one, two = made(store, "1"), made(store, "2")
    name(store, one)

    class Late:
        """Lists the names as they were before the other process wrote."""

        def below(self, folder: str) -> Objects:
            objects = store.objects.below(folder)
            monkeypatch.setattr(objects, "names", lambda prefix="": [])
            return objects

    assert give_name(Late(), "corpus", two.id, "wiki") == "corpus/wiki@2"  # type: ignore[arg-type]


def test_an_address_is_left_as_it_is():
    uri = "s3://bucket/names/corpus/3f9a"
    assert resolved(uri) == uri


@pytest.mark.parametrize(
    ("wanted", "message"),
    [("wiki@9", r"there is no corpus named wiki@9 in .*\n  There are: wiki@1\."),
     ("none@1", r"there is no corpus named none@1 in .*\n  No corpus is named none there")],
)  # fmt: skip
def test_a_name_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path, wanted: str, message: str):
    store = Store(tmp_path / "store")
    name(store, made(store, "1"))
    with pytest.raises(UserError, match=message):
        resolved(f"{store.objects.uri}/names/corpus/{wanted}")
