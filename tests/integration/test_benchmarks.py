"""Each benchmark runs, at a toy size: its figures mean nothing here, but its commands and its words are real."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.serving_in_a_pod import Comparison

PEERS = ["plain DDP", "HF Trainer"]
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TOY = ["model.hidden_size=32", "model.intermediate_size=48", "model.num_hidden_layers=1", "model.num_attention_heads=2",
       "model.num_key_value_heads=1", "training.batch.tokens=128", "training.batch.sequence_length=16",
       "training.batch.micro_batch_size=2"]  # fmt: skip


def run(benchmark: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, BENCHMARKS / benchmark, *arguments],
        env={**os.environ, "BENCHMARK_ROUNDS": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def test_every_benchmark_is_run_here():
    found = sorted(path.name for path in BENCHMARKS.glob("*.py"))
    assert found == ["checkpoints.py", "gpu_throughput.py", "loader.py", "peers.py", "ranks.py", "serving_in_a_pod.py",
                     "tracking.py", "training_throughput.py"]  # fmt: skip


def test_the_throughput_of_training_is_measured_for_every_loop(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BENCHMARK_MEMORY_OF", "torch")
    ended = run("training_throughput.py", *TOY)
    assert ended.returncode == 0, ended.stderr
    figures = re.findall(r"^([\w ]+?) +(\d+) tokens/s +[\d.]+% of the matrix product$", ended.stdout, re.MULTILINE)
    assert [name for name, _ in figures] == ["one process", *PEERS, "torch", "deepspeed", "deterministic"]
    assert all(int(speed) > 0 for _, speed in figures)
    ratios = re.findall(r"^(\w+ / [\w ]+): [\d.]+", ended.stdout, re.MULTILINE)
    compared = [f"{ours} / {peer}" for ours in ("torch", "deepspeed") for peer in PEERS]
    assert ratios == [*compared, "deterministic / torch"]
    assert re.search(r"^torch waits for data in [\d.]+% of a step$", ended.stdout, re.MULTILINE)
    assert re.search(r"^torch +\d+ MiB a rank at most$", ended.stdout, re.MULTILINE)
    assert f"settings: {' '.join(TOY)}" in ended.stdout


def test_the_loader_is_measured_against_a_bare_read():
    ended = run("loader.py")
    assert ended.returncode == 0, ended.stderr
    assert len(re.findall(r"loader / bare read: [\d.]+ +target 0.9 ", ended.stdout)) == 3
    memory = re.search(r"^100,000,000 windows: ([\d.]+) MiB of memory$", ended.stdout, re.MULTILINE)
    assert memory is not None
    assert float(memory[1]) < 20, "it does not grow with the windows"


def test_the_delivery_to_mlflow_is_measured_by_the_step():
    ended = run("tracking.py", *TOY)
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"^10 steps, \d{2,} points of metrics$", ended.stdout, re.MULTILINE)
    assert re.search(r"^delivery / step: [\d.]+ +target 0.01 ", ended.stdout, re.MULTILINE)


def test_the_throughput_on_gpus_is_measured_at_the_shape_of_each_model(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BENCHMARK_SHAPES", "tiny:16")
    ended = run("gpu_throughput.py", *TOY, "training.compute.compile=false")  # a compiled step takes a minute here
    assert ended.returncode == 0, ended.stderr
    figures = re.search(r"^tiny:16 +\d+ M .* (\d+) ranks +([\d,]+) tokens/s .*MFU +([\d.]+)% +([\d.]+) GiB a rank$",
                        ended.stdout, re.MULTILINE)  # fmt: skip
    assert figures is not None, ended.stdout
    assert figures[1] == "2"
    assert int(figures[2].replace(",", "")) > 0
    assert 0 <= float(figures[3]) < 100
    assert float(figures[4]) > 0


def test_the_cost_of_checkpoints_is_measured():
    ended = run("checkpoints.py", *TOY)
    assert ended.returncode == 0, ended.stderr
    said = re.findall(
        r"^(a step that saves .* / a step|from the start .*step|reading .* copying them): [\d.]+", ended.stdout, re.M
    )
    assert len(said) == 4, ended.stdout


@pytest.mark.parametrize(("pod", "ratio", "verdict"), [([95.0, 99.0, 40.0], 0.95, "ok"), ([80.0] * 3, 0.8, "MISSED")])
def test_a_pod_is_compared_turn_by_turn(pod: list[float], ratio: float, verdict: str):
    comparison = Comparison(host=[100.0] * 3, pod=pod)
    assert comparison.ratio == pytest.approx(ratio)
    assert f"pod / host: {ratio:.3f}   target 0.95   {verdict}" in str(comparison)


def test_the_serving_benchmark_says_what_it_needs():
    ended = run("serving_in_a_pod.py")
    assert ended.returncode == 2
    assert "python benchmarks/serving_in_a_pod.py s3://BUCKET/PREFIX/repository/ID http://NODE:PORT" in ended.stderr
