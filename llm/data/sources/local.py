"""Files of this machine: `data.path` is a file, a folder, or a glob (`**` for any depth).

A folder gives everything below it but hidden files. The order is that of the names, so it is the same on every
machine. Names are relative to the folder, or to the part of a glob before its first wildcard: no product depends on
where the input lies. A path that exists as it is written is no wildcard: `p[1]/*.txt` are the files of `p[1]`.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from llm.config import DataConfig
from llm.data.sources.discovery import format_of, sources
from llm.data.sources.local_file import LocalFile, files_below
from llm.data.sources.protocol import Found, InputFile, Source
from llm.errors import UserError
from llm.storage import user_path


class LocalFiles(Source):
    """The files that a path, a folder or a glob names."""

    def recognises(self, path: str) -> bool:
        """Every path that no other source recognises."""
        return True

    def files(self, path: str) -> Sequence[LocalFile]:
        """The files by name; raises UserError if there are none."""
        with _looking_up(path):
            return _find(path)

    def read(self, file: InputFile, config: DataConfig) -> Iterator[Found]:
        """The documents, by the file's format."""
        return format_of(file).read(file, config)

    def host_paths(self, path: str) -> Sequence[Path]:
        """The file or folder that is named, or the part of a glob before its first wildcard."""
        with _looking_up(path):
            root = user_path(path)
            return [_split(root)[0] if glob.has_magic(path) else root]


SOURCE = LocalFiles()


@contextmanager
def _looking_up(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:  # too long a name, a NUL in it
        raise UserError(f"data.path={path} cannot be looked up: {getattr(error, 'strerror', None) or error}") from error


def _find(path: str) -> list[LocalFile]:
    root = user_path(path)
    if root.is_dir():
        return files_below(root) or _nothing(f"the folder {path} has no files", "Hidden files are not read.")
    if root.is_file():
        return [LocalFile.below(root.parent, root)]
    if glob.has_magic(path):
        folder, pattern = _split(root)
        paths = {folder / match for match in glob.iglob(pattern, root_dir=folder, recursive=True)}
        found = [LocalFile.below(folder, match) for match in paths if match.is_file()]
        return sorted(found, key=lambda file: file.name) or _nothing(
            f"no file matches {path}",
            "`*` stays in one folder; `**/*` matches at any depth. Quote the glob in the shell.",
        )
    if root.exists():
        raise UserError(f"data.path={path} is no file and no folder")
    forms = [source.form for source in sources().values() if source.form]
    raise UserError(
        f"data.path={path} does not exist",
        f"It was looked for at {root.absolute()}.",
        f"Give a file, a folder, a glob, or {', or '.join(forms)}.",
    )


def _split(path: Path) -> tuple[Path, str]:
    """The folders of a glob before its first wildcard, and the pattern below them; all of a path that exists."""
    folder = Path()
    for place, part in enumerate(path.parts):
        if glob.has_magic(part) and not (folder / part).exists():
            return folder, str(Path(*path.parts[place:]))
        folder /= part
    return folder, ""


def _nothing(message: str, *details: str) -> list[LocalFile]:
    raise UserError(message, *details)
