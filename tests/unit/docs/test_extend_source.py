"""The format and the source of docs/extend/source.md, where the page says that they go."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm.cluster.pipelines.package import for_a_cluster
from llm.cluster.pipelines.pods.preflight import pod_preflight
from llm.config import DataConfig, compose
from llm.data import SPLITS, read_split
from llm.data.ingest import ingest
from llm.data.sources import code_of, discovery, source_of
from llm.errors import UserError
from llm.runner.mounts import places
from llm.runs.events import EventLog
from llm.storage import Manifest, Store
from tests.cases.extend import Example, example, installed
from tests.cases.submission import IN_PODS

PAGE = "source"
FORMAT = "llm/data/sources/formats/subtitles.py"
SOURCE = "llm/data/sources/zip_archive.py"


@pytest.fixture
def page() -> Example:
    return example(PAGE)


@pytest.fixture
def added(page: Example, tmp_path: Path) -> Iterator[None]:
    with installed(page, tmp_path / "added"):
        yield


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    folder = tmp_path / "talks"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number:02}.srt").write_text(
            f"1\n00:00:01,000 --> 00:00:02,500\nTalk {number} begins\n\n2\n00:00:03,000 --> 00:00:04,000\nand ends.\n"
        )
    return folder


@pytest.fixture
def archive(talks: Path, tmp_path: Path) -> Path:
    path = tmp_path / "talks.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in talks.iterdir():
            archive.write(file, f"talks/{file.name}")
    return path


def ingested(path: Path, folder: Path) -> Manifest:
    return ingest(DataConfig(path=str(path)), Store(folder / "store"), EventLog(folder / "events.jsonl"))


def texts(corpus: Manifest) -> list[str]:
    return sorted(text for split in SPLITS for text in read_split(corpus, split)["text"])


SPOKEN = sorted(f"Talk {number} begins and ends." for number in range(60))


def test_the_page_adds_one_file_a_part_and_no_setting_but_the_path(page: Example) -> None:
    assert set(page.files) == {FORMAT, SOURCE}
    assert page.settings == ("data.path=talks", "data.path=texts.zip")


def test_the_format_of_the_page_is_found_and_reads(added: None, talks: Path, tmp_path: Path) -> None:
    corpus = ingested(talks, tmp_path)
    assert texts(corpus) == SPOKEN
    assert corpus.counts["by_domain"] == {"speech": {"documents": 60, "bytes": len("".join(SPOKEN))}}


def test_without_the_page_subtitles_are_plain_text(talks: Path, tmp_path: Path) -> None:
    assert all("-->" in text for text in texts(ingested(talks, tmp_path)))


def test_the_format_is_in_the_recipe(added: None, talks: Path) -> None:
    source = source_of(str(talks))
    assert "llm.data.sources.formats.subtitles" in code_of(source, source.files(str(talks)))


def test_what_the_format_refuses_and_rejects(added: None, talks: Path, tmp_path: Path) -> None:
    (talks / "a.srt").write_bytes(b"1\n00:00:01,000 --> 00:00:02,500\ncaf\xe9\n")
    (talks / "b.srt").write_text("1\n00:00:01,000 --> 00:00:02,500\n\n")
    rejected = ingested(talks, tmp_path).counts["rejected"]
    assert (rejected["not_utf8"]["first"], rejected["empty"]["first"]) == (["a.srt"], ["b.srt"])
    (talks / "c.srt").write_text("No times.")
    with pytest.raises(UserError, match=r"c\.srt has no line such as .* --> .*\n  Rename it to \.txt"):
        ingested(talks, tmp_path)


def test_the_source_of_the_page_reads_each_file_by_its_format(added: None, archive: Path, tmp_path: Path) -> None:
    assert texts(ingested(archive, tmp_path)) == SPOKEN


def test_the_source_says_what_a_container_and_a_pod_must_see(added: None, archive: Path, tmp_path: Path) -> None:
    config = compose([f"run.folder={tmp_path / 'runs'}", f"storage.uri={tmp_path / 'out'}", f"data.path={archive}"])
    assert archive in [place.path for place in places(config)]
    with pytest.raises(UserError, match=r"data\.path=talks\.zip is a path on this machine"):
        pod_preflight(for_a_cluster("pretrain", compose([*IN_PODS, "data.path=talks.zip"])))


def test_a_missing_path_names_the_source_too(added: None, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="or `stdlib` for the standard library of this Python, or a ZIP archive"):
        source_of(str(tmp_path / "nope")).files(str(tmp_path / "nope"))
    with pytest.raises(UserError, match=r"data\.path=.*nope\.zip cannot be read: .*No such file"):
        source_of(str(tmp_path / "nope.zip")).files(str(tmp_path / "nope.zip"))


def test_the_same_files_work_from_a_package_of_another_project(
    page: Example, talks: Path, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "my_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    for name in (FORMAT, SOURCE):
        (package / Path(name).name).write_text(page.files[name])
    metadata = tmp_path / "site" / "my_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my_package\nVersion: 1.0\n")
    points = page.page.read_text().split("```toml\n")[1].split("```")[0]
    for kind in ("formats", "sources"):
        points = points.replace(f'[project.entry-points."gristmill.{kind}"]', f"[gristmill.{kind}]")
    (metadata / "entry_points.txt").write_text(points.replace('"', ""))
    monkeypatch.syspath_prepend(tmp_path / "site")

    assert "subtitles" in discovery.formats()
    assert texts(ingested(talks, tmp_path / "a")) == SPOKEN
    assert texts(ingested(archive, tmp_path / "b")) == SPOKEN
    source = source_of(str(archive))
    assert code_of(source, source.files(str(archive))) == ("my_package.subtitles", "my_package.zip_archive")
