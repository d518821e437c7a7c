"""Reading a run: which nodes are steps, what failed first, whether it has ended and whether it was cancelled."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from kfp.dsl.graph_component import GraphComponent

from llm.cluster.pipelines.kfp_client import KfpApi
from llm.cluster.pipelines.run_state import Node, RunState
from pipelines.pretrain import pretrain
from tests.cases.submission import FAILED, NOT_PROMOTED, PROMOTED
from tests.fakes.kfp_server import KfpServer, Look

LATER = datetime(2026, 11, 24, tzinfo=UTC)


def seen(
    kfp: KfpServer, api: KfpApi, *script: Look, platforms: dict | None = None, pipeline: GraphComponent = pretrain
) -> RunState:
    """The last look of a run of the real pipeline, with settings for Kubernetes if there are some."""
    from google.protobuf import json_format

    document = json_format.MessageToDict(pipeline.pipeline_spec)
    if platforms is not None:
        document = {"pipeline_spec": document, "platform_spec": platforms}
    run = kfp.add_run("one", script, pipeline_spec=document)
    return [api.get(run.id) for _ in script][-1]


def test_the_steps_are_the_containers_of_all_groups_in_the_order_of_their_start(kfp: KfpServer, api: KfpApi):
    run = seen(kfp, api, Look("SUCCEEDED", PROMOTED))
    assert [node.name for node in run.steps] == [
        "ingest", "train", "gate", "register", "promote", "deploy", "report",
    ]  # fmt: skip
    assert run.steps[0].seconds == 9


def test_a_step_that_was_never_reached_is_none_that_began(kfp: KfpServer, api: KfpApi):
    assert [node.name for node in seen(kfp, api, Look("FAILED", FAILED)).steps] == ["ingest", "train", "report"]


def test_the_failed_node_is_the_step_that_failed_first_or_else_a_driver(kfp: KfpServer, api: KfpApi):
    run = seen(kfp, api, Look("FAILED", {**FAILED, "report": "FAILED"}))
    assert run.failed_node is not None
    assert run.failed_node.name == "train"
    driver = seen(kfp, api, Look("FAILED", {"ingest": "SUCCEEDED", "train-driver": "FAILED"})).failed_node
    assert driver is not None
    assert driver.name == "train-driver"
    assert seen(kfp, api, Look("FAILED")).failed_node is None


def test_the_condition_that_did_not_hold_is_named_as_in_the_pipeline(kfp: KfpServer, api: KfpApi):
    assert seen(kfp, api, Look("SUCCEEDED", NOT_PROMOTED)).untaken_conditions == {"passed"}
    assert seen(kfp, api, Look("SUCCEEDED", PROMOTED)).untaken_conditions == set()
    assert seen(kfp, api, Look("SUCCEEDED")).untaken_conditions == set()


@pytest.mark.parametrize(
    ("state", "finished", "has_ended"),
    [
        ("PENDING", None, False),
        ("RUNNING", None, False),
        ("PAUSED", None, False),
        ("CANCELING", None, False),
        ("CANCELING", LATER, False),
        ("SUCCEEDED", LATER, True),
        ("FAILED", LATER, True),
        ("CANCELED", LATER, True),
        ("SKIPPED", None, True),
        ("RUNTIME_STATE_UNSPECIFIED", None, False),
        ("DISSOLVED", None, False),
        ("DISSOLVED", LATER, True),
        ("UNKNOWN", None, False),
    ],
)
def test_a_state_that_nobody_knows_ends_with_a_time(state: str, finished: datetime | None, has_ended: bool):
    assert RunState("1", "one", state, finished=finished).has_ended == has_ended


@pytest.mark.parametrize(
    ("state", "history", "was_cancelled"),
    [
        ("FAILED", ("PENDING", "RUNNING", "FAILED"), False),
        ("FAILED", ("PENDING", "RUNNING", "CANCELING", "FAILED"), True),
        ("FAILED", ("RUNNING", "CANCELING", "FAILED", "PENDING", "RUNNING", "FAILED"), False),
        ("RUNNING", ("RUNNING", "CANCELING", "FAILED", "PENDING"), False),
        ("FAILED", (), False),
        ("CANCELED", (), True),
        ("CANCELING", ("RUNNING",), True),
    ],
)
def test_that_a_run_was_cancelled_is_in_its_state_or_its_history(
    state: str, history: tuple[str, ...], was_cancelled: bool
):
    assert RunState("1", "one", state, history=history).was_cancelled == was_cancelled


def test_times_of_1970_are_times_that_are_not_known(kfp: KfpServer, api: KfpApi):
    run = seen(kfp, api, Look("RUNNING", {"ingest": "RUNNING"}))
    assert run.finished is None
    assert run.steps[0].ended is None
    assert run.steps[0].seconds is None
    assert run.seconds is not None


def test_the_configuration_is_the_one_that_the_run_was_started_with_or_the_packages_own():
    declared = {"root": {"inputDefinitions": {"parameters": {"config": {"defaultValue": "package's"}}}}}
    assert RunState("1", "one", "RUNNING", specification=declared).parameter("config") == "package's"
    given = RunState("1", "one", "RUNNING", specification=declared, parameters={"config": "given"})
    assert given.parameter("config") == "given"
    assert RunState("1", "one", "RUNNING").parameter("config") is None


def test_the_number_of_a_try_is_not_part_of_a_nodes_name():
    assert Node("train(2)", "RUNNING").base == "train"
    assert Node("train", "RUNNING", LATER, LATER + timedelta(seconds=3)).seconds == 3
