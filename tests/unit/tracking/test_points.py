from __future__ import annotations

from llm.config import RunConfig
from llm.runs.event_kinds import (
    MetricMeasured,
    Progress,
    RunFinished,
    RunStarted,
    StepFinished,
    TrainStep,
    TrainValidation,
    Versions,
)
from llm.tracking.points import Point, parameters, points, status, tags


def test_a_point_has_the_time_of_its_event():
    event = TrainValidation(time=12.3456, step=50, loss=2.5)
    assert points(event)[0] == Point("validation/loss", 2.5, 12346, 50)
    assert {(point.milliseconds, point.step) for point in points(event)} == {(12346, 50)}


def test_a_missing_value_gives_no_point():
    event = TrainStep(step=1, steps=2, loss=2.0, mfu=None)
    assert [point.name for point in points(event)] == ["train/loss"]
    assert points(Progress(step="train", message="x")) == []


def test_a_step_is_timed_under_its_name():
    event = StepFinished(time=1.0, step="ingest", seconds=3.0)
    assert points(event) == [Point("seconds/ingest", 3.0, 1000, 0)]


def test_a_name_that_mlflow_does_not_allow_is_changed():
    assert points(MetricMeasured(name="test/a+b", value=1))[0].name == "test/a_b"


def test_parameters_are_the_deciding_settings_by_dotted_key():
    found = parameters(RunConfig())
    assert found["training.optimizer.lr"] == "0.003"
    assert found["export.tensorrt"] == "None"
    assert not [name for name in found if name.startswith(("run.", "tracking.", "storage."))]


def test_tags_say_where_a_run_came_from():
    event = RunStarted(command="gristmill run", versions={"torch": "2.13", "kfp": None})
    assert tags(event) == {"gristmill.command": "gristmill run", "version.torch": "2.13"}
    assert tags(Versions(versions={"torch": "2.14"})) == {"version.torch": "2.14"}
    assert tags(RunFinished(exit_code=0, seconds=1.0)) == {}


def test_the_status_follows_from_the_exit_code():
    assert [status(code) for code in (0, 2, 4, 75)] == ["FINISHED", "FAILED", "FAILED", "KILLED"]
