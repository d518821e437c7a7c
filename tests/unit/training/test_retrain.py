"""Training anew what is there, once for each attempt at the run."""

from __future__ import annotations

import pytest

from llm.runs.event_kinds import RunStarted, StepFinished
from llm.runs.events import EventLog
from llm.storage import Manifest, Store
from llm.training.checkpoint.find import complete_names
from llm.training.identity import training_identity
from llm.training.train import train, training_recipe
from tests.cases.training import MODEL, TRAINING, token_shards


class Lost(Exception):
    """The launcher's node went away."""


class Cluster:
    """Trains elsewhere: a product that tells which training made it."""

    def __init__(self, store: Store, log: EventLog) -> None:
        self.store, self.log, self.trainings = store, log, 0
        self.given = token_shards(store)

    def step(self, *, is_lost: bool = False) -> Manifest:
        """The step with `retrain`; the launcher may be lost when its TrainJob is done, and with it its end's event."""

        def elsewhere(plan_uri: str) -> None:
            self.trainings += 1
            with self.store.stage("checkpoint", training_recipe(MODEL, TRAINING, *self.given)) as stage:
                (stage.path / "number").write_text(str(self.trainings))
                stage.commit()
            if is_lost:
                raise Lost

        made = train(MODEL, TRAINING, *self.given, self.store, self.log, retrain=True, elsewhere=elsewhere)
        self.log.emit(StepFinished(step="train"))
        return made


def test_a_launcher_in_place_of_a_lost_one_takes_what_that_one_trained(store: Store, log: EventLog):
    cluster = Cluster(store, log)
    log.emit(RunStarted(kfp_run="a"))
    cluster.step()
    log.emit(RunStarted(kfp_run="b"))
    with pytest.raises(Lost):
        cluster.step(is_lost=True)
    made = cluster.step()
    assert (cluster.trainings, made.file("number").read_text()) == (2, "2")
    assert made.id not in store.found, "it was made in this attempt"


def test_every_attempt_trains_anew_and_so_does_every_step_by_hand(store: Store, log: EventLog):
    cluster = Cluster(store, log)
    cluster.step()
    cluster.step()
    cluster.step()
    assert cluster.trainings == 3
    with pytest.raises(Lost):
        cluster.step(is_lost=True)
    log.emit(RunStarted(kfp_run="b"))
    cluster.step()
    assert cluster.trainings == 5


def test_a_product_that_is_found_removes_no_other_training_in_its_place(store: Store, log: EventLog):
    cluster = Cluster(store, log)
    cluster.step()
    longer = TRAINING.model_copy(update={"length": TRAINING.length.model_copy(update={"steps": 24})})
    place = store.working_objects(training_identity(MODEL, longer, *cluster.given))
    assert place.uri == store.working_objects(training_identity(MODEL, TRAINING, *cluster.given)).uri

    def stopped(plan_uri: str) -> None:
        place.write("step-00000018/files.json", b"[]")
        raise Lost

    with pytest.raises(Lost):
        train(MODEL, longer, *cluster.given, store, log, elsewhere=stopped)
    train(MODEL, TRAINING, *cluster.given, store, log, elsewhere=stopped)
    assert complete_names(place) == ["step-00000018"]
