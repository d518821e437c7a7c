from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from llm.config import RunConfig, TrackingConfig, TrainingConfig, to_yaml
from llm.runs import RunFolder
from llm.runs.event_kinds import TrainValidation
from llm.runs.events import EventLog
from llm.tracking.mlflow_sink import Uploader, deliver, finish

LOCAL = TrackingConfig()


def tracked_runs(folder: RunFolder) -> list[Run]:
    client = MlflowClient(f"sqlite:///{folder.runs}/mlflow.db")
    experiment = client.get_experiment_by_name("gristmill")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"]))


def losses(folder: RunFolder, run: Run) -> list[float]:
    client = MlflowClient(f"sqlite:///{folder.runs}/mlflow.db")
    return [point.value for point in client.get_metric_history(run.info.run_id, "train/loss")]


def test_a_delivered_run_has_parameters_metrics_and_tags(run_folder: RunFolder):
    delivery = deliver(run_folder, LOCAL)
    assert (delivery.sent, delivery.pending, delivery.error) == (20, 0, None)
    (run,) = tracked_runs(run_folder)
    assert run.info.run_name == "pretrain-1"
    assert run.info.start_time == round(1000 * EventLog(run_folder.events).read()[0].time)
    assert run.data.params["training.optimizer.lr"] == "0.003"
    assert run.data.tags["version.torch"] == "2.13.0"
    assert losses(run_folder, run) == [5.0 - step / 10 for step in range(1, 11)]


def test_what_was_delivered_is_not_sent_again_and_what_is_new_goes_to_the_same_run(run_folder: RunFolder):
    deliver(run_folder, LOCAL)
    assert deliver(run_folder, LOCAL).sent == 0
    EventLog(run_folder.events).emit(TrainValidation(step=10, loss=4.2))
    assert deliver(run_folder, LOCAL).sent == 2, "loss and perplexity"
    (run,) = tracked_runs(run_folder)
    assert run.data.metrics["validation/loss"] == 4.2


def test_points_that_a_crash_sends_twice_are_there_once(run_folder: RunFolder, monkeypatch: pytest.MonkeyPatch):
    keep = Uploader._keep

    def die_after_the_batch(self: Uploader, **changes: object) -> None:
        if "offset" in changes:
            raise KeyboardInterrupt
        keep(self, **changes)

    with monkeypatch.context() as patch:
        patch.setattr(Uploader, "_keep", die_after_the_batch)
        with pytest.raises(KeyboardInterrupt):
            deliver(run_folder, LOCAL)
    assert deliver(run_folder, LOCAL).sent == 20
    (run,) = tracked_runs(run_folder)
    assert len(losses(run_folder, run)) == 10


def test_a_run_that_a_crash_hid_is_found_again(run_folder: RunFolder, monkeypatch: pytest.MonkeyPatch):
    keep = Uploader._keep

    def die_before_the_id_is_kept(self: Uploader, **changes: object) -> None:
        if "run_id" in changes:
            raise KeyboardInterrupt
        keep(self, **changes)

    with monkeypatch.context() as patch:
        patch.setattr(Uploader, "_keep", die_before_the_id_is_kept)
        with pytest.raises(KeyboardInterrupt):
            deliver(run_folder, LOCAL)
    deliver(run_folder, LOCAL)
    assert len(tracked_runs(run_folder)) == 1


def test_more_points_than_a_batch_holds_all_arrive(run_folder: RunFolder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("llm.tracking.mlflow_sink.BATCH_POINTS", 7)
    assert deliver(run_folder, LOCAL).sent == 20
    assert len(losses(run_folder, tracked_runs(run_folder)[0])) == 10


def test_another_configuration_in_the_same_folder_opens_a_new_mlflow_run(run_folder: RunFolder):
    deliver(run_folder, LOCAL)
    run_folder.write_config(to_yaml(RunConfig(training=TrainingConfig(seed=7))))
    deliver(run_folder, LOCAL)
    assert [run.data.params["training.seed"] for run in tracked_runs(run_folder)] == ["1234", "7"]


def test_a_log_with_other_events_in_between_is_delivered_whole_and_nothing_is_there_twice(run_folder: RunFolder):
    deliver(run_folder, LOCAL)
    first, *rest = run_folder.events.read_text().splitlines(keepends=True)
    between = '{"time": 1.0, "kind": "train_validation", "step": 1, "loss": 4.5}\n'
    run_folder.events.write_text("".join((first, between, *rest)))
    deliver(run_folder, LOCAL)
    (run,) = tracked_runs(run_folder)
    assert run.data.metrics["validation/loss"] == 4.5
    assert len(losses(run_folder, run)) == 10


def test_the_end_of_a_run_is_told_with_its_report(run_folder: RunFolder):
    run_folder.report.write_text("<!doctype html>")
    assert finish(run_folder, LOCAL, exit_code=2).error is None
    (run,) = tracked_runs(run_folder)
    assert run.info.status == "FAILED"
    assert list((run_folder.runs / "mlartifacts").rglob("report.html"))


def test_nothing_is_made_in_the_working_folder(run_folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    deliver(run_folder, LOCAL)
    assert list(here.iterdir()) == []


def test_a_server_that_is_not_there_keeps_the_points_pending(run_folder: RunFolder, closed_port: str):
    delivery = deliver(run_folder, TrackingConfig(uri=closed_port, timeout_seconds=1))
    assert (delivery.sent, delivery.pending) == (0, 20)
    assert delivery.error is not None
    assert delivery.error.startswith(f"MLflow at {closed_port}: does not answer: Connection refused\n")
    assert "kept in the run's events.jsonl" in delivery.error


def test_a_server_that_accepts_and_never_answers_costs_one_timeout(run_folder: RunFolder, silent_server: str):
    delivery = deliver(run_folder, TrackingConfig(uri=silent_server, timeout_seconds=1))
    assert delivery.pending == 20
    assert f"MLflow at {silent_server}: no answer within 1 s" in str(delivery.error)


@pytest.mark.parametrize(
    ("status", "kind", "body", "words"),
    [
        (403, "application/json", json.dumps({"error_code": "PERMISSION_DENIED", "message": "no EDIT for ann"}),
         "refused with status 403: PERMISSION_DENIED: no EDIT for ann"),
        (403, "text/html", "<h1>Forbidden</h1>", "refused with status 403"),
        (500, "text/plain", "oh dear", "answers with status 500"),
    ],
)  # fmt: skip
def test_what_a_refusing_server_said_is_kept(
    run_folder: RunFolder,
    refusing_server: Callable[[int, str, str], str],
    status: int,
    kind: str,
    body: str,
    words: str,
):
    uri = refusing_server(status, kind, body)
    delivery = deliver(run_folder, TrackingConfig(uri=uri, timeout_seconds=1))
    assert delivery.pending == 20
    assert f"MLflow at {uri}: {words}" in str(delivery.error)


def test_what_one_server_refused_another_gets(run_folder: RunFolder, closed_port: str):
    deliver(run_folder, TrackingConfig(uri=closed_port, timeout_seconds=1))
    assert deliver(run_folder, LOCAL).sent == 20


def test_a_name_that_does_not_resolve_is_named(run_folder: RunFolder):
    delivery = deliver(run_folder, TrackingConfig(uri="http://ann:secret@no-such-host.invalid", timeout_seconds=1))
    assert "MLflow at http://no-such-host.invalid: does not answer" in str(delivery.error)
    assert "secret" not in str(delivery.error)
