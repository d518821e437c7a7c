from __future__ import annotations

import random
import shutil
import subprocess

import pytest

from llm.evaluation.bits_per_byte.compressors import gzip_bits_per_byte, xz_bits_per_byte

TEXTS = ["".join(random.Random(seed).choices("déf class import", k=4_000)) for seed in range(4)]


@pytest.mark.parametrize(
    ("command", "function"),
    [(["gzip", "-9", "-n", "-c"], gzip_bits_per_byte), (["xz", "-9", "-e", "-c"], xz_bits_per_byte)],
)
def test_figures_are_those_of_the_command_line_tools(command, function):
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    data = "".join(TEXTS).encode()
    expected = 8 * len(subprocess.run(command, input=data, capture_output=True, check=True).stdout) / len(data)
    assert function(TEXTS) == pytest.approx(expected, rel=0.01)


def test_documents_are_one_stream_so_a_repeated_one_costs_little():
    assert gzip_bits_per_byte(TEXTS[:1] * 4) < 0.5 * gzip_bits_per_byte(TEXTS[:1])


def test_no_text_has_no_figure():
    assert gzip_bits_per_byte([]) is None
    assert xz_bits_per_byte([""]) is None
