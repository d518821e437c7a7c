"""A manifest describes a product, and refuses one that is no longer what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.errors import DamagedError, UserError
from llm.storage import FileEntry, Manifest, Parent, Recipe, Store
from tests.cases.storage import one_document

names = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
counts = st.dictionaries(
    names, st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False))
)


@given(path=names, size=st.integers(0, 2**40), counts=counts)
def test_a_written_manifest_is_read_back_equal(tmp_path_factory: pytest.TempPathFactory, path, size, counts):
    manifest = Manifest(
        kind="corpus",
        id="0" * 16,
        uri="file:///nowhere",
        files=(FileEntry(path=path, size_bytes=size, sha256="ab" * 32),),
        counts=counts,
        parents=(Parent(kind="text", id="1" * 16, uri="file:///x"),),
    )
    file = tmp_path_factory.mktemp("manifest") / "manifest.json"
    manifest.write(file)
    assert Manifest.read(file) == manifest


@pytest.fixture
def product(store: Store) -> Manifest:
    with store.stage("corpus", Recipe("ingest", {})) as stage:
        (stage.path / "sub").mkdir()
        (stage.path / "sub" / "text.txt").write_text("hello")
        return stage.commit(one_document())


def test_an_unchanged_product_verifies_and_gives_its_files(product: Manifest):
    assert product.verify() == product.folder
    assert product.file("sub/text.txt").read_text() == "hello"


def test_a_changed_file_is_refused_by_name(product: Manifest):
    (product.folder / "sub" / "text.txt").write_text("jello")
    with pytest.raises(DamagedError, match=r"sub/text.txt of corpus \w+ is damaged: its manifest says sha256"):
        product.verify()


def test_a_file_cut_short_is_refused_with_both_sizes(product: Manifest):
    (product.folder / "sub" / "text.txt").write_text("hell")
    with pytest.raises(DamagedError, match="its manifest says 5 bytes, the file has 4"):
        product.file("sub/text.txt")


def test_a_removed_file_is_refused_with_its_path_and_the_remedy(product: Manifest):
    (product.folder / "sub" / "text.txt").unlink()
    with pytest.raises(DamagedError, match=r"(?s)is missing.*Remove .* and run again"):
        product.verify()


def test_a_file_that_the_manifest_does_not_have_is_refused(product: Manifest):
    with pytest.raises(UserError, match=r"has no file other\.txt"):
        product.file("other.txt")


def test_a_missing_manifest_says_to_run_its_step(tmp_path: Path):
    with pytest.raises(UserError, match="no manifest at"):
        Manifest.read(tmp_path / "manifest.json")


def test_nonsense_is_not_a_manifest(tmp_path: Path):
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(DamagedError, match="is not a manifest"):
        Manifest.read(tmp_path / "manifest.json")


def test_a_product_elsewhere_is_refused_with_its_scheme(product: Manifest):
    with pytest.raises(UserError, match="ftp://host/x is not a folder, a file: URI or s3://"):
        product.model_copy(update={"uri": "ftp://host/x"}).verify()


def test_a_product_is_found_by_its_address(product: Manifest):
    assert Manifest.read_uri(product.uri) == product
    with pytest.raises(UserError, match=r"there is no product at .*/nowhere"):
        Manifest.read_uri(f"{product.uri}/nowhere")


@pytest.mark.parametrize("change", [{"schema_version": 2}, {"schema_version": 2, "added": 1}])
def test_a_manifest_of_a_later_version_is_not_taken_for_a_damaged_one(tmp_path: Path, change: dict[str, int]):
    product = Manifest(kind="corpus", id="1", uri="corpus/1", files=())
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({**json.loads(product.document()), **change}))
    with pytest.raises(
        UserError, match=r"written by a later version of Gristmill \(schema 2, this one reads 1\)"
    ) as raised:
        Manifest.read(path)
    assert not isinstance(raised.value, DamagedError)
    assert "Remove" not in str(raised.value)
