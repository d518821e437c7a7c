"""Kubeflow Pipelines' API, through its own client.

Where it is: `cluster.kfp_uri`, else KFP_ENDPOINT (as for the `kfp` command), else KF_PIPELINES_ENDPOINT, else the
client's own search: the cluster that this pod runs in, or the one of the kubeconfig, namespace `kubeflow`.
Our token: the one in KFP_EXISTING_TOKEN (as for the `kfp` command), or in the file that KF_PIPELINES_SA_TOKEN_PATH
names, or none. An own certificate authority: SSL_CERT_FILE.
"""

from __future__ import annotations

import io
import json
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from itertools import islice
from pathlib import Path
from typing import Any

from llm.cluster.api import kubeconfig_errors
from llm.cluster.pipelines.kfp_requests import TOKEN_FILE_VARIABLE, TOKEN_VARIABLE, WHERE_IT_IS, bound
from llm.cluster.pipelines.run_state import RunState, from_api
from llm.cluster.refusal import Refused, Unreachable
from llm.config import ClusterConfig, nearest
from llm.errors import ServiceError, UserError

ENDPOINT_VARIABLES = ("KFP_ENDPOINT", "KF_PIPELINES_ENDPOINT")
RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
PAGE = 100
EQUALS = 1
"""`V2beta1PredicateOperation`, as KFP's client writes it."""


class KfpApi:
    """A connection to Kubeflow Pipelines. Every method may raise Refused, or Unreachable."""

    def __init__(self, client: Any, namespace: str | None) -> None:
        """Take KFP's client, and the namespace to ask for where the server serves many users."""
        self._client, self._namespace = client, namespace
        self._api_client = client._run_api.api_client

    @property
    def uri(self) -> str:
        """Address of the API."""
        return str(self._api_client.configuration.host)

    def page(self, run_id: str) -> str:
        """Address of a run's page in KFP's UI."""
        return f"{os.environ.get('KF_PIPELINES_UI_ENDPOINT', self.uri).rstrip('/')}/#/runs/details/{run_id}"

    def create(self, package: Path, name: str, experiment: str, service_account: str | None) -> RunState:
        """Start a run of a compiled package, in an experiment that is made if it is not there."""
        try:
            with _quietly():
                result = self._client.create_run_from_pipeline_package(
                    str(package),
                    run_name=name,
                    experiment_name=experiment,
                    namespace=self._namespace,
                    service_account=service_account,
                )
        except ValueError as error:  # the client's own: there are several experiments of this name
            raise Refused(400, "", f"Kubeflow Pipelines at {self.uri}: {error}") from error
        return from_api(result.run_info)

    def get(self, run_id: str) -> RunState:
        """A run by its id."""
        return from_api(self._client.get_run(run_id))

    def named(self, name: str) -> list[RunState]:
        """The runs of that name, newest first."""
        predicate = {"operation": EQUALS, "key": "display_name", "stringValue": name}
        return list(self._list(filter=json.dumps({"predicates": [predicate]})))

    def active(self, name: str) -> list[RunState]:
        """Those of that name that have not ended."""
        return [run for run in self.named(name) if not run.has_ended]

    def recent(self, count: int) -> list[RunState]:
        """The newest runs, newest first."""
        return list(islice(self._list(), count))

    def find(self, name_or_id: str) -> RunState:
        """A run by its id, or the newest of that name; raises UserError, with the nearest name, if there is none."""
        if RUN_ID.fullmatch(name_or_id):
            try:
                return self.get(name_or_id)
            except Refused as error:
                if error.status != 404:
                    raise
                raise UserError(f"{self.uri} has no run {name_or_id}", "`gristmill status` lists the runs.") from error
        if runs := self.named(name_or_id):
            return self.get(runs[0].id)
        known = {run.name for run in self.recent(PAGE)}
        raise UserError(
            f"{self.uri} has no run {name_or_id}", nearest(name_or_id, known) if known else "It has no runs at all."
        )

    def terminate(self, run_id: str) -> None:
        """Ask for a run's end; does nothing if it has ended or was asked already."""
        try:
            self._client.terminate_run(run_id)
        except Refused as error:
            if error.status != 400:
                raise
            run = self.get(run_id)
            if not run.has_ended and run.state != "CANCELING":
                raise error from None

    def pod_log(self, run_id: str, pod: str) -> str | None:
        """The log of a pod, or of KFP's archive; None if neither has it."""
        from urllib3.exceptions import HTTPError

        try:
            answer = self._api_client.call_api(
                "/apis/v1alpha1/runs/{run_id}/nodes/{node_id}/log",
                "GET",
                {"run_id": run_id, "node_id": pod},
                auth_settings=["Bearer"],
                _return_http_data_only=True,
                _preload_content=False,
            )
            text: str = answer.data.decode(errors="replace")
        except (ServiceError, HTTPError):
            return None
        return None if text.startswith('{"error_message":') else text  # with status 200, in 2.17

    def _list(self, **arguments: str) -> Iterator[RunState]:
        token = ""
        while True:
            answer = self._client.list_runs(
                page_token=token, page_size=PAGE, sort_by="created_at desc", namespace=self._namespace, **arguments
            )
            yield from (from_api(run) for run in answer.runs or () if run.run_id)
            token = answer.next_page_token
            if not token:
                return


def endpoint(cluster: ClusterConfig) -> str | None:
    """The address that was given; None leaves it to the client's search."""
    return cluster.kfp_uri or next((os.environ[name] for name in ENDPOINT_VARIABLES if os.environ.get(name)), None)


def connect(cluster: ClusterConfig) -> KfpApi:
    """Connect, and check that Kubeflow Pipelines answers; raises ServiceError if not, UserError without a namespace."""
    given = endpoint(cluster)
    if given is None and (why := _why_no_cluster()) is not None:
        raise ServiceError("no address of Kubeflow Pipelines is known, and no cluster", WHERE_IT_IS, why)
    with _quietly():
        try:
            client = _client(given, cluster.timeout_seconds)
            health = client.get_kfp_healthz()
        except (Refused, Unreachable) as error:
            if given is not None or error.status not in (404, 503):
                raise
            raise ServiceError(
                "no address of Kubeflow Pipelines is known, and the cluster that we see has none in the namespace"
                " kubeflow",
                WHERE_IT_IS,
            ) from error
    namespace = (cluster.namespace or client.get_user_namespace()) if health.multi_user else None
    if health.multi_user and not namespace:
        raise UserError(
            f"Kubeflow Pipelines at {client._run_api.api_client.configuration.host} keeps its users apart by namespace",
            "Set cluster.namespace to yours.",
        )
    return KfpApi(client, namespace)


def _client(given: str | None, timeout_seconds: float) -> Any:
    import kfp

    class BoundedClient(kfp.Client):  # type: ignore[misc]  # kfp has no types
        """KFP's client; its constructor asks for the server's health, before bounds could be set from outside."""

        def get_kfp_healthz(self, sleep_duration: int = 5) -> Any:
            """The server's answer, at the first try or not at all."""
            bound(self._healthz_api.api_client, timeout_seconds)
            return super().get_kfp_healthz(sleep_duration)

    return BoundedClient(
        host=given,
        existing_token=os.environ.get(TOKEN_VARIABLE),
        credentials=_token_file(),
        ssl_ca_cert=os.environ.get("SSL_CERT_FILE"),
    )


def _token_file() -> Any:
    """Credentials that are read from the file again for every request, as the kubelet renews it; None without one."""
    path = os.environ.get(TOKEN_FILE_VARIABLE)
    if path is None:
        return None
    from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials

    try:
        Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{TOKEN_FILE_VARIABLE}={path} cannot be read: {error.strerror}") from error
    return ServiceAccountTokenVolumeCredentials(path)


def _why_no_cluster() -> str | None:
    """Why the client's search has nowhere to look; None if it has."""
    from kubernetes import config

    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return None
    try:
        contexts, _ = config.list_kube_config_contexts(os.environ.get("KUBECONFIG"))
    except kubeconfig_errors() as error:
        return f"The kubeconfig gives none: {' '.join(str(error).split()) or type(error).__name__}"
    return None if contexts else "The kubeconfig gives none: it has no contexts"


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep the client's links and warnings off our output."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
