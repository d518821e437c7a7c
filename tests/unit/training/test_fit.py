"""A device's memory: what does not fit is refused with changes that are enough, and `auto` finds the largest batch."""

from __future__ import annotations

import re

import pytest

from llm.cluster.pipelines.pods.preflight import pod_preflight
from llm.config import RunConfig, compose, from_yaml, to_yaml
from llm.config.accelerators import ACCELERATORS, by_torch_name
from llm.errors import UserError
from llm.runner.preflight import offline_preflight
from llm.runs.folder import run_name
from llm.training.estimate import fit
from llm.training.estimate.course import course
from llm.training.estimate.fit import check_memory, memory_of

BATCH = ("training.batch.tokens=16384", "training.batch.sequence_length=256", "training.parallel.backend.name=torch",
         "training.compute.device=cpu")  # fmt: skip
SEVEN = ("model=7b", "tokenizer.vocab_size=32001", "training.batch.tokens=1048576",
         "training.batch.sequence_length=4096", "training.batch.micro_batch_size=2", "training.parallel.processes=8",
         "training.compute.precision=bf16", "plan.device=h100")  # fmt: skip
AUTO = "training.batch.micro_batch_size=auto"


def micro_batch(*settings: str, here: bool = True) -> int:
    return compose([*BATCH, AUTO, *settings], here=here).training.batch.micro_batch_size


def peak(size: int) -> int:
    return memory_of(compose([*BATCH, f"training.batch.micro_batch_size={size}"])).peak


def refusal(config: RunConfig) -> str:
    with pytest.raises(UserError) as caught:
        check_memory(config)
    return str(caught.value)


def test_auto_is_the_largest_number_that_fits_and_shares_the_batch_equally():
    room = (peak(8) + peak(16)) // 2
    assert micro_batch(f"plan.memory={room}", "plan.memory_share=1") == 8
    assert micro_batch("plan.memory=900Gi") == 32
    assert micro_batch("plan.memory=900Gi", "training.batch.tokens=2304", "training.parallel.processes=1") == 9


def test_auto_becomes_a_number_when_the_configuration_is_read_and_its_ids_are_those_of_the_number():
    chosen = compose([*BATCH, AUTO, "plan.memory=900Gi"])
    given = compose([*BATCH, "training.batch.micro_batch_size=32"])
    assert "micro_batch_size: 32" in to_yaml(chosen)
    assert from_yaml(to_yaml(chosen)) == chosen
    assert run_name("pretrain", chosen) == run_name("pretrain", given)


RECOMPUTE = "training.compute.recompute"
LAYERS = ["model.num_hidden_layers=8", "training.batch.micro_batch_size=16", "plan.memory_share=1"]


def peak_with(how: str, every: int = 1) -> int:
    return memory_of(compose([*BATCH, *LAYERS, f"{RECOMPUTE}={how}", f"{RECOMPUTE}_every={every}"])).peak


@pytest.mark.parametrize("wanted", [("none", 1), ("operations", 1), ("layers", 2), ("layers", 1)])
def test_auto_recomputes_no_more_than_the_memory_asks_for(wanted: tuple[str, int]):
    compute = compose([*BATCH, *LAYERS, f"{RECOMPUTE}=auto", f"plan.memory={peak_with(*wanted)}"]).training.compute
    assert (compute.recompute, compute.recompute_every) == wanted


def test_auto_for_both_recomputes_for_one_sequence_and_then_takes_the_largest_micro_batch():
    room = f"plan.memory={peak_with('none')}"
    training = compose([*BATCH, *LAYERS, f"{RECOMPUTE}=auto", AUTO, room]).training
    assert (training.compute.recompute, training.batch.micro_batch_size) == ("none", 16)


def test_auto_is_refused_where_all_layers_computed_again_are_not_enough():
    with pytest.raises(UserError, match=r"recompute=auto: with all layers computed again a rank needs .* of memory"):
        compose([*BATCH, *LAYERS, f"{RECOMPUTE}=auto", f"plan.memory={peak_with('layers') // 2}"])


def test_auto_takes_a_share_of_the_machine_or_of_the_pod(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fit, "usable_bytes", lambda: 2 * peak(4) + 2)
    assert micro_batch("plan.memory_share=1") == 4
    monkeypatch.setattr(fit, "usable_bytes", lambda: 1)
    assert micro_batch("pods.all.memory_limit=900Gi", here=False) == 32
    with pytest.raises(UserError, match="the pod of the step train has no limit of memory"):
        micro_batch("pods.all.memory_limit=null", here=False)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["plan.memory=50Mi"], r"auto: with one sequence a rank needs .* of memory, and may take 45 MiB(.|\n)*50 MiB"),
        (["training.pool=gpus", "storage.uri=s3://mill/store"], "the memory of the device is not known"),
        (["training.compute.device=cuda"], "the memory of the device is not known"),
        (["training.batch.tokens=1000"], "is not a multiple of training.batch.sequence_length"),
        (["training.parallel.processes=3"], "do not divide the global batch"),
    ],
)
def test_auto_is_refused_where_it_cannot_be_found(settings: list[str], words: str):
    with pytest.raises(UserError, match=words):
        micro_batch(*settings)


def test_auto_leaves_a_pipeline_its_micro_batches():
    found = micro_batch("plan.memory=900Gi", "training.parallel.backend.name=fsdp", "training.parallel.pipeline=2",
                        "model.tie_word_embeddings=false")  # fmt: skip
    assert found == 32  # of 64 sequences: two stages need two micro-batches


def test_a_training_beyond_the_memory_is_refused_with_changes_that_are_enough():
    config = compose(SEVEN)
    words = refusal(config)
    assert re.search(r"needs \d+ GiB of memory at its highest, and may take 67.1 GiB", words)
    assert "plan.device=h100 has 74.5 GiB" in words
    (changes,) = re.findall(r"it fits with (.*)\.$", words)
    for change in changes.split(", or with "):
        check_memory(compose([*SEVEN, *change.split(" and ")]))


def test_a_run_and_a_package_are_refused_as_the_plan_is():
    config = compose([*SEVEN, "training.pool=gpus", "storage.uri=s3://mill/store", "tracking.uri=http://mlflow:5000"])
    for preflight in (offline_preflight, pod_preflight):
        with pytest.raises(UserError, match=r"a rank needs .* of memory at its highest, and may take"):
            preflight(config)


def test_without_changes_that_are_enough_the_refusal_says_where_to_look():
    words = refusal(compose([*SEVEN, "plan.memory=1Gi"]))
    assert "plan.memory=1Gi has 1 GiB" in words
    assert "Share the model between more ranks" in words
    check_memory(compose([*SEVEN, "plan.device=null"]))


def test_time_and_cost_follow_from_peak_share_and_price():
    settings = [*SEVEN, "training.length.steps=1000", "plan.share_of_peak=0.5"]
    found = course(compose([*settings, "costs.accelerator_hour={nvidia.com/gpu: 2}"]))
    assert found is not None
    assert found.tokens == 1000 * 1048576
    assert found.device_seconds == pytest.approx(found.flops / (989e12 * 0.5))
    assert found.seconds == pytest.approx(found.device_seconds / 8)
    assert found.cost == pytest.approx(found.device_seconds / 3600 * 2)
    without = course(compose(settings))
    assert without is not None
    assert without.cost is None
    assert course(compose([*SEVEN, "training.length.steps=null", "training.length.minutes=3"])) is None


def test_the_stages_before_the_training_count():
    stages = "training.stages=[{steps: 500, num_hidden_layers: 16}]"
    alone, staged = (course(compose([*SEVEN, "training.length.steps=1000", *more])) for more in ([], [stages]))
    assert alone is not None
    assert staged is not None
    assert staged.tokens == 1500 * 1048576
    assert 1.2 * alone.flops < staged.flops < 1.4 * alone.flops, "half as many steps of half as many layers"


def test_memory_of_the_host_is_not_the_devices():
    zero = ["training.parallel.backend.name=deepspeed", "training.parallel.backend.zero_stage=3"]
    here = memory_of(compose([*SEVEN, *zero]))
    away = memory_of(compose([*SEVEN, *zero, "training.parallel.backend.offload=cpu"]))
    assert (away.weights, away.gradients, away.states) == (0, 0, 0)
    assert 0 < away.peak == here.peak - here.weights - here.gradients - here.states
    on_processors = [*SEVEN, *zero, "plan.device=null", "training.compute.device=cpu"]
    assert memory_of(compose([*on_processors, "training.parallel.backend.offload=cpu"])).states > here.states


def test_where_a_pool_may_have_gpus_or_not_the_larger_estimate_counts():
    pool = [*SEVEN, "plan.device=null", "training.pool=any", "storage.uri=s3://bucket/x"]
    either = memory_of(compose(pool)).peak
    both = [memory_of(compose([*pool, f"training.compute.device={device}"])).peak for device in ("cpu", "cuda")]
    assert either == max(both) > min(both)


@pytest.mark.parametrize(
    ("name", "device"),
    [("NVIDIA H100 80GB HBM3", "h100"), ("NVIDIA H100 PCIe", "h100-pcie"), ("NVIDIA A10G", "a10g"),
     ("NVIDIA A10", "a10"), ("NVIDIA L40S", "l40s"), ("NVIDIA L40", "l40"), ("NVIDIA L4", "l4"), ("Tesla T4", "t4"),
     ("NVIDIA H200 NVL", "h200-nvl"), ("NVIDIA H200", "h200")],
)  # fmt: skip
def test_a_device_is_known_by_the_name_that_torch_gives(name: str, device: str):
    assert by_torch_name(name) == ACCELERATORS[device]
    others = "Voodoo 2", "NVIDIA RTX A1000", "NVIDIA T400 4GB", "NVIDIA A100 MIG 1g.5gb", "RTX 4090 Laptop GPU"
    assert [by_torch_name(other) for other in others] == [None] * 5


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["plan.device=h1000"], "Did you mean h100?"),
        (["plan.device=v100-16g", "training.compute.precision=bf16"], "plan.device=v100-16g has no arithmetic for"),
        (
            ["plan.device=a100-80g", "training.compute.precision=fp8", "training.parallel.backend.name=fsdp"],
            "a100-80g does not multiply in float8",
        ),
        (["plan.device=h100", "training.compute.device=cpu"], "the ranks would not compute on it"),
        (["plan.memory=0"], "memory is written as"),
        (["plan.memory_share=0"], "greater than 0"),
        (["plan.share_of_peak=1.5"], "less than or equal to 1"),
        (["training.batch.micro_batch_size=AUTO"], "micro_batch_size='AUTO' is not allowed"),
    ],
)
def test_nonsense_is_refused_by_name(settings: list[str], words: str):
    with pytest.raises(UserError, match=re.escape(words)):
        compose(settings)
