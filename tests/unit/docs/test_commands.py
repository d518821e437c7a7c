"""The commands that the documentation gives are accepted: nobody who copies one is sent back with exit code 2.

Every `gristmill …` in the fenced blocks of README.md, docs/ and the charts' READMEs, and in the charts' NOTES.txt. What
a reader fills in is filled in; then the command line is parsed as the command line parses it, its configuration is
composed, and what the command checks before it starts is checked, as far as that asks no server.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from llm.cli import STEPS, VERBS, cli
from llm.cli.run import load_pipeline
from llm.cluster.pipelines.package import for_a_cluster
from llm.cluster.pipelines.pods.preflight import check_secrets, pod_preflight
from llm.config import RunConfig, compose
from llm.runner.preflight import preflight
from tests.cases.extend import example, installed

PROJECT = Path(__file__).parents[3]
PAGES = [
    PROJECT / "README.md",
    *sorted(page for page in PROJECT.glob("docs/**/*.md") if page.parent.name != "extend"),  # their examples are run
    *sorted(PROJECT.glob("charts/*/README.md")),
]
NOTES = sorted(PROJECT.glob("charts/*/templates/NOTES.txt"))
AT_LEAST = {"README.md": 10, "docs/platform.md": 2, "docs/submission.md": 1,
            "charts/gristmill-platform/templates/NOTES.txt": 1}  # fmt: skip
"""Commands that are there now, so that none of them is passed over unseen."""

ARROW = "──▶"
FENCE = re.compile(r"^\s*```")
COMMAND = re.compile(r"(?:^|[;&|])\s*(?:\w+=\S*\s+)*(?:\.venv/bin/)?gristmill\s+(?=(?P<arguments>.*))")
TO_FILL_IN = [
    (re.compile(r"\$\{?\w+\}?"), "mill"),
    (re.compile(r"\bMLFLOW:PORT\b"), "mlflow:5000"),
    (re.compile(r"\b(BUCKET|PREFIX|HOST|RUN|NAME)\b"), "mill"),
    (re.compile(r"(?<=\S)…"), "mill"),
]
TEMPLATE = re.compile(r"(?P<left>[ \t\n]*\{\{-|\{\{)(?P<action>.*?)(?P<right>-\}\}[ \t\n]*|\}\})", re.DOTALL)
CONTROL = re.compile(r"/\*|(if|else|end|with|range|break|define|fail)\b|\$\w*\s*:?=")
DEFAULT = re.compile(r"\|\s*default\s+\"([^\"]+)\"")


@dataclass(frozen=True)
class Command:
    """One command of the documentation."""

    page: str
    line: int
    arguments: tuple[str, ...]

    @property
    def place(self) -> str:
        """The file and the line to look at."""
        return f"{self.page}:{self.line}"

    @property
    def text(self) -> str:
        """The command as it was tried."""
        return shlex.join(["gristmill", *self.arguments])


def fenced(text: str) -> Iterator[tuple[int, str]]:
    """The lines inside fenced blocks but for drawings, with their numbers."""
    inside = False
    for number, line in enumerate(text.splitlines(), start=1):
        if FENCE.match(line):
            inside = not inside
        elif inside and ARROW not in line:
            yield number, line


def rendered(template: str) -> Iterator[tuple[int, str]]:
    """The lines of a template with every branch taken once and every value filled in, with the template's numbers.

    A line that an action puts beside the one before counts as that one, as in the rendered text.
    """

    def fill_in(found: re.Match[str]) -> str:
        action = found["action"].strip()
        default = DEFAULT.search(action)
        value = "" if CONTROL.match(action) else default[1] if default else "mill"
        newlines = "\0" * found[0].count("\n")  # kept, to count the lines by
        return f"{newlines}{value}"

    number = 1
    for line in TEMPLATE.sub(fill_in, template).split("\n"):
        yield number, line.replace("\0", "")
        number += 1 + line.count("\0")


def commands(page: str, lines: Iterator[tuple[int, str]]) -> Iterator[Command]:
    """The commands in these lines; one that goes on behind a backslash is one, and counts for its first line."""
    begun, joined = 0, ""
    for number, line in lines:
        begun = begun if joined else number
        if line.rstrip().endswith("\\"):
            joined += line.rstrip().removesuffix("\\") + " "
            continue
        for found in COMMAND.finditer(joined + line):
            yield Command(page, begun, tuple(words(found["arguments"])))
        joined = ""


def words(text: str) -> Iterator[str]:
    """The words of a command up to a comment, a redirection or the next command, with what a reader fills in."""
    split = shlex.shlex(text, posix=True, punctuation_chars=True)
    split.whitespace_split = True
    for word in split:
        if re.fullmatch(r"[;&|<>()]+", word):
            return
        for placeholder, value in TO_FILL_IN:
            word = placeholder.sub(value, word)
        if word not in ("…", "[KEY=VALUE]…"):
            yield word


def documented() -> list[Command]:
    """All commands of the documentation."""
    texts = [(path, fenced(path.read_text())) for path in PAGES]
    texts += [(path, rendered(path.read_text())) for path in NOTES]
    return [one for path, lines in texts for one in commands(path.relative_to(PROJECT).as_posix(), lines)]


def accept(arguments: tuple[str, ...], folder: Path) -> None:
    """Raise what `gristmill ARGUMENTS` would end with before it starts; `folder` stands in for every store."""
    verb, *rest = arguments
    command = cli.get_command(None, verb)  # type: ignore[arg-type]
    assert command is not None, f"there is no verb {verb}; there are {', '.join((*VERBS, *STEPS))}"
    given: dict[str, Any] = command.make_context(verb, rest).params
    config = compose(given.get("overrides") or [one for one in given.get("arguments", ()) if "=" in one])
    if "pipeline" in given:
        load_pipeline(given["pipeline"], RunConfig())
    if verb == "run":
        preflight(without_servers(config, folder))
    elif verb == "submit":
        pod_preflight(for_a_cluster(given["pipeline"], config))
    elif verb == "compile":
        assert given["output"].suffix in (".yaml", ".yml")
        check_secrets(for_a_cluster(given["pipeline"], config))


def without_servers(config: RunConfig, folder: Path) -> RunConfig:
    """The same run with its store in a folder, and no pool to ask a cluster for."""
    storage = config.storage.model_copy(update={"uri": str(folder)})
    training = config.training.model_copy(update={"pool": None})
    return config.model_copy(update={"storage": storage, "training": training})


def as_the_page_says(page: str, folder: Path) -> AbstractContextManager[object]:
    """A how-to's own files are in place while its commands are tried."""
    extends = PurePosixPath(page)
    return installed(example(extends.stem), folder) if extends.parent.name == "extend" else nullcontext()


DOCUMENTED = documented()


@pytest.mark.parametrize("command", DOCUMENTED, ids=lambda command: command.place)
def test_a_command_of_the_documentation_is_accepted(command, tmp_path):
    try:
        with as_the_page_says(command.page, tmp_path / "example"):
            accept(command.arguments, tmp_path / "store")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the page's
        pytest.fail(f"{command.place}: `{command.text}` is refused: {error}", pytrace=False)


@pytest.mark.parametrize("page", AT_LEAST)
def test_all_commands_of_a_page_are_found(page):
    found = [command.text for command in DOCUMENTED if command.page == page]
    assert len(found) >= AT_LEAST[page], found


def test_pages_and_notes_are_read_as_a_shell_and_helm_read_them():
    page = (
        "`gristmill run nothing` in prose\n```bash\n"
        "sleep 2; .venv/bin/gristmill run pretrain storage.uri=s3://$BUCKET/x \\\n"
        "  training.optimizer.lr=1e-3   # as you like\n"
        "A=b gristmill plan 'data.path=a b' && gristmill config > out\n```\ngristmill run nothing\n"
    )
    assert list(commands("page.md", fenced(page))) == [
        Command("page.md", 3, ("run", "pretrain", "storage.uri=s3://mill/x", "training.optimizer.lr=1e-3")),
        Command("page.md", 5, ("plan", "data.path=a b")),
        Command("page.md", 5, ("config",)),
    ]
    notes = (
        "{{- $name := .Release.Name -}}\nHello\n  gristmill submit pretrain \\\n"
        '    tracking.uri={{ .Values.uri | default "http://MLFLOW:PORT" }}\n'
        "{{- range .Values.pools }} \\\n    training.pool={{ .name }}\n{{- break }}\n{{- end }}\n\ngristmill runs\n"
    )
    assert list(commands("NOTES.txt", rendered(notes))) == [
        Command("NOTES.txt", 3, ("submit", "pretrain", "tracking.uri=http://mlflow:5000", "training.pool=mill")),
        Command("NOTES.txt", 10, ("runs",)),
    ]


def test_the_platform_page_installs_what_the_chart_names_and_a_server_as_its_manifest_makes_it():
    page = (PROJECT / "docs/platform.md").read_text()
    (trainer,) = re.findall(
        r"kubectl apply --server-side -k '\S+'",
        (PROJECT / "charts/gristmill-platform/templates/_check_cluster.tpl").read_text(),
    )
    assert trainer in page
    (applied,) = re.findall(r"kubectl apply -f (\S+)", page)
    server = {one["kind"]: one for one in yaml.safe_load_all((PROJECT / applied).read_text())}
    service, (container,) = server["Service"], server["Deployment"]["spec"]["template"]["spec"]["containers"]
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    (port,) = [port["port"] for port in service["spec"]["ports"]]
    keys = {variable["name"]: variable["value"] for variable in container["env"]}
    for expected in (
        f"kubectl -n {namespace} rollout status deployment/{server['Deployment']['metadata']['name']} ",
        f"kubectl -n {namespace} port-forward service/{name} 9000:{port} &",
        f"export AWS_ENDPOINT_URL=http://127.0.0.1:9000 POD_S3_ENDPOINT=http://{name}.{namespace}.svc:{port}\n",
        f"export AWS_ACCESS_KEY_ID={keys['ROOT_ACCESS_KEY']} AWS_SECRET_ACCESS_KEY={keys['ROOT_SECRET_KEY']}\n",
    ):
        assert expected in page


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (
            "run pretrain storage.uri=s3://mill training.pool=cpu training.parallel.nodes=2",
            "does not divide a rank's share",
        ),
        ("run pretrain storage.uri=s3://mill run.folder=s3://mill/runs tracking.uri=http://mlflow", "is in S3"),
        ("run pretrain validation.suite=strict", "there is no suite strict"),
        ("run posttrain", "there is no pipeline posttrain"),
        ("run pretrain --no-such-option", "No such option"),
        ("sumbit pretrain", "there is no verb sumbit"),
        ("submit pretrain storage.uri=s3://mill", "tracking.uri=null"),
        ("compile pretrain tracking.uri=http://me:secret@mlflow -o pretrain.yaml", "holds a password"),
        ("plan model=huge", "there is no model named huge"),
        ("status mill cluster.namespaces=ml", "unknown config key"),
    ],
)
def test_a_command_that_would_be_refused_is_refused_here(command, reason, tmp_path):
    with pytest.raises(Exception, match=reason):
        accept(tuple(command.split()), tmp_path)
