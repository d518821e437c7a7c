"""File systems that lack locks, folder flushes or modes: what does no harm is a warning, the rest says what to set."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int is_ours(int descriptor) {  /* below LACKS_IN, and a folder where LACKS_ONLY_FOLDERS is set */
  char link[64], path[PATH_MAX];
  struct stat status;
  const char *root = getenv("LACKS_IN");
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (!root || length < 0) return 0;
  path[length] = 0;
  if (strncmp(path, root, strlen(root))) return 0;
  return !getenv("LACKS_ONLY_FOLDERS") || (!fstat(descriptor, &status) && S_ISDIR(status.st_mode));
}
static int lacks(const char *call) { const char *it = getenv("LACKS"); return it && !strcmp(it, call); }
static int refuse(void) { errno = atoi(getenv("LACKS_ERRNO")); return -1; }

int flock(int descriptor, int operation) {
  int (*real)(int, int) = dlsym(RTLD_NEXT, "flock");
  return lacks("flock") && is_ours(descriptor) ? refuse() : real(descriptor, operation);
}
int fsync(int descriptor) {
  int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
  return lacks("fsync") && is_ours(descriptor) ? refuse() : real(descriptor);
}
int chmod(const char *path, mode_t mode) {
  int (*real)(const char *, mode_t) = dlsym(RTLD_NEXT, "chmod");
  return lacks("chmod") ? refuse() : real(path, mode);
}
int fchmod(int descriptor, mode_t mode) {
  int (*real)(int, mode_t) = dlsym(RTLD_NEXT, "fchmod");
  return lacks("chmod") ? refuse() : real(descriptor, mode);
}
int fchmodat(int folder, const char *path, mode_t mode, int flags) {
  int (*real)(int, const char *, mode_t, int) = dlsym(RTLD_NEXT, "fchmodat");
  return lacks("chmod") ? refuse() : real(folder, path, mode, flags);
}
"""
SCRIPT = """
import sys
from pathlib import Path
from llm.errors import UserError
from llm.runs import RunFolder
from llm.storage import LocalObjects, Recipe, Store, only_process_in

root = Path(sys.argv[1])
store = Store(root / "store")

def product():
    with store.stage("corpus", Recipe("ingest", {})) as stage:
        (stage.path / "text.txt").write_text("hello")
        stage.commit()
    return store.find(Recipe("ingest", {})).verify().name

def training():
    folder = store.working_folder(Recipe("training", {}))
    with only_process_in(folder):
        LocalObjects(folder).write("checkpoint", b"1")
        return RunFolder(folder).is_held()

def configuration():
    RunFolder(root / "runs" / "one").write_config("x")
    return oct((root / "runs" / "one" / "config.yaml").stat().st_mode & 0o777)

for work in (store.check_access, product, training, configuration):
    try:
        print(work.__name__, work())
    except UserError as error:
        print(work.__name__, "refused", str(error).replace("\\n", " "))
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("no C compiler for the stand-in of such a file system")
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", folder / "shim.so", folder / "shim.c", "-ldl"], check=True, timeout=60
    )
    return folder / "shim.so"


@pytest.fixture
def lacking(shim: Path, tmp_path: Path):
    """Do the work of a run in a folder whose file system answers one call with an error; its output by line."""

    def run(call: str, code: int, **environment: str) -> tuple[dict[str, str], str]:
        root = tmp_path / "disk"
        root.mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(root)], capture_output=True, text=True, timeout=60,
            env={**os.environ, "LD_PRELOAD": str(shim), "LACKS": call, "LACKS_ERRNO": str(code),
                 "LACKS_IN": str(root), **environment},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return dict(line.split(" ", 1) for line in done.stdout.splitlines()), done.stderr

    return run


NO_LOCKS = [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP]


@pytest.mark.parametrize("code", NO_LOCKS, ids=errno.errorcode.get)
def test_without_locks_work_that_needs_one_is_refused_with_the_setting(lacking, code: int):
    done, told = lacking("flock", code)
    for work in ("check_access", "training"):
        assert "refused" in done[work]
        assert f"its file system has no file locks (flock: {os.strerror(code)})" in done[work]
        assert "Set GRISTMILL_LOCKS to a folder on a local disk" in done[work]
    assert len(done["product"]) == 16
    assert told.count("warning: the store's file system has no file locks") == 1


def test_without_locks_a_folder_of_this_machine_keeps_them(lacking, tmp_path: Path):
    done, _ = lacking("flock", errno.ENOSYS, GRISTMILL_LOCKS=str(tmp_path / "locks"))
    assert done["check_access"] == "[]"
    assert done["training"] == "True"
    assert len(list((tmp_path / "locks").iterdir())) == 2
    assert not list((tmp_path / "disk").rglob(".lock"))


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF], ids=errno.errorcode.get)
def test_a_folder_that_cannot_be_flushed_is_one_warning(lacking, code: int):
    done, told = lacking("fsync", code, LACKS_ONLY_FOLDERS="1")
    assert not any("refused" in line for line in done.values())
    assert f"cannot flush a file or a folder to the disk (fsync: {os.strerror(code)})" in done["check_access"]
    assert told.count("warning:") == 1
    assert "A power cut can lose what was written last" in told


def test_a_broken_disk_is_no_warning(shim: Path, tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, timeout=60,
        env={**os.environ, "LD_PRELOAD": str(shim), "LACKS": "fsync", "LACKS_ERRNO": str(errno.EIO),
             "LACKS_IN": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 1
    assert "Input/output error" in done.stderr


def test_modes_are_given_when_a_file_is_made_and_not_changed_afterwards(lacking):
    done, told = lacking("chmod", errno.EPERM)
    assert not any("refused" in line for line in done.values())
    assert done["configuration"] == "0o600"
    assert told == ""
