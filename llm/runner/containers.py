"""Each step in a container of its image (`make images`), through KFP's Docker runner.

A step in a container has the same as a step in a pod: the image's libraries and sources, a root that cannot be written,
the caller's user. It shares with us what the configuration names (`llm.runner.mounts`), the network, and the process
numbers. So a stop reaches the step itself, which saves its checkpoint. The step also sees our end, however it comes,
and ends too (`llm.process.stop`). This needs a daemon on this machine's own kernel.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm.adoption.find import refuse_folders
from llm.config import PodConfig, PodsConfig, RunConfig
from llm.config.quantity import cores, size_bytes
from llm.data.sources import source_of
from llm.errors import ServiceError, UserError
from llm.images import NAMES, PROJECT, TRAIN_IMAGE, Image, built, cuda_image, unbuilt
from llm.process.home import home_folder
from llm.runner.mounts import SCRATCH, Place, places
from llm.runs.folder import RunFolder
from llm.storage import cache_folder, is_s3
from llm.storage.lock import LOCKS, locks_folder
from llm.storage.uri import CACHE

if TYPE_CHECKING:
    from docker import DockerClient  # type: ignore[import-untyped]

LABEL = "io.gristmill.run"
"""Label of a step's container: the folder of its run."""
SHARED_MEMORY = "1g"
"""Of a container; docker's 64 MB are too little for ranks that exchange tensors."""
PASSED_ON = re.compile(
    r"(AWS|GRISTMILL|LC|MLFLOW|WANDB)_\w+|(HTTP|HTTPS|NO|ALL)_PROXY|KUBECONFIG|LANG|OMP_NUM_THREADS|REQUESTS_CA_BUNDLE"
    r"|SSL_CERT_FILE|TMPDIR|TZ",
    re.IGNORECASE,
)
"""Variables that a step reads; everything else of our environment stays here."""


class Containers:
    """Runs steps with docker, in the images of this tree."""

    name = "docker"

    def __init__(self, project: Path = PROJECT) -> None:
        """Take the images that `make images` built in `project`."""
        self._project = project
        self._label: str | None = None
        self._images: dict[str, Image] = {}
        self._client: DockerClient | None = None

    def check(self, pipeline: Callable[..., Any], config: RunConfig) -> list[str]:
        """Warnings; raises UserError or ServiceError where a step could not be started or would see too little."""
        self._client = _connect()
        try:
            self._images = self._built(_image_names(pipeline))
            places(config)
            refuse_folders(config)
        except UserError:
            self._close()
            raise
        warning = source_of(config.data.path).warning_in_an_image(config.data.path)
        return [] if warning is None else [warning]

    @contextmanager
    def ready(self, pipeline: Callable[..., Any], config: RunConfig, folder: RunFolder) -> Iterator[Any]:
        """KFP's runner, while the pipeline names the images by the tags that were checked."""
        from docker.errors import DockerException  # type: ignore[import-untyped]
        from kfp import local

        self._label = f"{LABEL}={os.path.abspath(folder.path)}"
        names = {name: image.reference for name, image in self._images.items()}
        with _named(pipeline, names), _sized(config.pods):
            try:
                yield local.DockerRunner(**self._container(config))
            except DockerException as error:
                raise ServiceError(f"docker could not run a step: {error}") from error
            finally:
                self._remove_what_is_left()
                self._close()

    def details(self) -> dict[str, Any]:
        """The images, by name and id."""
        return {"images": {name: image.id for name, image in self._images.items()}}

    def processes(self) -> list[int]:
        """The first process of each container of this run: none of them descends from us."""
        return [container.attrs["State"]["Pid"] for container in self._running()]

    def _built(self, names: tuple[str, ...]) -> dict[str, Image]:
        """The images of this tree, as docker has them; raises UserError if one is not built, or of another tree."""
        from docker.errors import ImageNotFound

        assert self._client is not None
        if (reason := unbuilt(names, self._project)) is not None:
            raise UserError(reason, "Run `make images`, then this again.")
        images = {name: image for name, image in built(self._project).items() if name in names}
        for image in images.values():
            try:
                found = self._client.images.get(image.reference).id
            except ImageNotFound:
                found = None
            if found != image.id:
                what = "is not in docker any more" if found is None else "in docker is not the one that was built here"
                raise UserError(f"{image.reference} {what}", "Run `make images`, then this again.")
        return images

    def _container(self, config: RunConfig) -> dict[str, Any]:
        """Arguments of `docker run`."""
        from docker.types import Mount  # type: ignore[import-untyped]

        shared = places(config)
        environment = _environment(config)
        if "train" in self._images:
            cuda = cuda_image() if config.training.compute.device == "cuda" else None
            environment.setdefault(TRAIN_IMAGE, cuda or self._images["train"].pinned)
        assert self._label is not None
        key, _, value = self._label.partition("=")
        return {
            "environment": environment,
            "group_add": os.getgroups(),
            "labels": {key: value},
            "mounts": [Mount(str(p.path), str(p.path), type="bind", read_only=not p.is_writable) for p in shared],
            "network_mode": "host",
            "pid_mode": "host",
            "read_only": True,
            "security_opt": ["no-new-privileges"],
            "shm_size": SHARED_MEMORY,
            "tmpfs": dict.fromkeys(_in_memory(Path(environment["HOME"]), shared), ""),
            "user": f"{os.getuid()}:{os.getgid()}",
            "working_dir": os.getcwd(),
        }

    def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _running(self) -> list[Any]:
        """Containers of this run; none where docker does not answer: a step that needs it says what is wrong."""
        from docker.errors import DockerException

        client = self._client  # the thread that measures memory may come while we close it
        if client is None:
            return []
        try:
            return list(client.containers.list(filters={"label": self._label}, ignore_removed=True))
        except DockerException:
            return []

    def _remove_what_is_left(self) -> None:
        """End what still runs: KFP leaves a container alone when something goes wrong on its own side."""
        from docker.errors import APIError

        for container in self._running():
            try:
                container.remove(force=True)
            except APIError:  # it ended by itself meanwhile
                continue


def _connect() -> DockerClient:
    """A client of the daemon; raises ServiceError if none answers, UserError if it runs on another kernel than we."""
    try:
        import docker
    except ImportError as error:
        raise UserError("the docker runner needs docker's client", "pip install 'gristmill[pipeline]'") from error
    try:
        client = docker.from_env()
        kernel = client.info()["KernelVersion"]
    except docker.errors.DockerException as error:
        raise ServiceError(
            f"docker's daemon does not answer: {error}",
            "Start it (`systemctl start docker`), or set DOCKER_HOST; without docker: --runner subprocess.",
        ) from error
    if kernel != os.uname().release:
        client.close()
        raise UserError(
            f"docker's daemon runs on another machine or in a virtual one: kernel {kernel}, here {os.uname().release}",
            "Steps share folders and process numbers with this command: use a daemon of this machine, or"
            " --runner subprocess.",
        )
    return client


def _image_names(pipeline: Callable[..., Any]) -> tuple[str, ...]:
    """The images of ours that a pipeline's steps run in."""
    named = {_name(executor["container"]["image"]) for executor in _executors(pipeline)}
    return tuple(sorted(name for name in named if name in NAMES))


@contextmanager
def _named(pipeline: Callable[..., Any], references: dict[str, str]) -> Iterator[None]:
    """Let the pipeline name its images by these references: docker knows one that was never pushed by its tag only."""
    before = [(container, container["image"]) for container in (one["container"] for one in _executors(pipeline))]
    for container, image in before:
        container["image"] = references.get(_name(image), image)
    try:
        yield
    finally:
        for container, image in before:
            container["image"] = image


@contextmanager
def _sized(pods: PodsConfig) -> Iterator[None]:
    """Let docker keep each step to its limits: KFP's runner (2.17) has one set of arguments for all."""
    from kfp.local import docker_task_handler as handler

    run = handler.run_docker_container

    def limited(client: DockerClient, image: str, command: list[str], volumes: Any, **arguments: Any) -> int:
        return int(run(client, image, command, volumes, **arguments, **_limits(pods.of(_step_of(command)))))

    handler.run_docker_container = limited
    try:
        yield
    finally:
        handler.run_docker_container = run


def _limits(pod: PodConfig) -> dict[str, Any]:
    """Arguments of `docker run`; a limit of CPU beyond this machine's is none, and docker would refuse it."""
    limits: dict[str, Any] = {}
    if pod.cpu_limit is not None and (cpus := cores(pod.cpu_limit)) < (os.cpu_count() or 1):
        limits["nano_cpus"] = int(cpus * 1e9)
    if pod.memory_limit is not None:
        limits["mem_limit"] = size_bytes(pod.memory_limit)
    return limits


def _step_of(command: list[str]) -> str:
    """The step that a container's command runs: an argument of KFP's executor."""
    return command[command.index("--function_to_execute") + 1] if "--function_to_execute" in command else ""


def _executors(pipeline: Any) -> list[Any]:
    """The executors of a compiled pipeline, which hold each step's image."""
    return list(pipeline.pipeline_spec.deployment_spec["executors"].values())


def _name(reference: str) -> str:
    """`train` of `registry/path/train:tag` and of `…/train@sha256:…`."""
    return re.split("[:@]", reference.rpartition("/")[2])[0]


def _environment(config: RunConfig) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if PASSED_ON.fullmatch(name)}
    if is_s3(config.storage.uri):
        environment[CACHE] = str(cache_folder())
    if (locks := locks_folder()) is not None:
        environment[LOCKS] = str(locks)
    environment["HOME"] = str(home_folder() or SCRATCH)  # `~` of the configuration means here what it means to us
    return environment


def _in_memory(home: Path, shared: list[Place]) -> list[str]:
    """Folders that libraries write to and nobody reads again; a home that is mounted is left as it is."""
    covered = any(home.is_relative_to(place.path) for place in shared)
    return [SCRATCH] if covered or home.is_relative_to(SCRATCH) else [SCRATCH, str(home)]
