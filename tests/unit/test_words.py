from __future__ import annotations

import pytest

from llm.words import duration, hours, local_time, money, scaled, size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "n/a"),
        (0.04, "0 s"),
        (9.94, "9.9 s"),
        (12, "12 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations_have_two_units_at_most(seconds: float | None, text: str):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(None, "n/a"), (0, "0"), (999.4, "999"), (999.7, "1k"), (41_230, "41.2k"), (4.2e6, "4.2M"), (7e13, "70T")],
)
def test_large_numbers_are_scaled(number: float | None, text: str):
    assert scaled(number) == text


@pytest.mark.parametrize(
    ("number_bytes", "text"),
    [
        (None, "n/a"),
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "0.977 KiB"),
        (13_002_342, "12.4 MiB"),
        (2**40, "1 TiB"),
    ],
)
def test_sizes_have_three_digits_and_a_unit(number_bytes: float | None, text: str):
    assert size(number_bytes) == text


@pytest.mark.parametrize("seconds", [-1e300, 1e300, 1e13, float("inf"), float("nan")])
def test_a_time_that_no_calendar_has_is_missing(seconds: float):
    assert local_time(seconds) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "n/a"),
        (0.0, "0"),
        (0.1, "<0.0001"),
        (82.0, "0.0228"),
        (5.8, "0.0016"),
        (612.0, "0.17"),
        (131_400.0, "36.5"),
        (3_597_000.0, "999"),
        (4_334_400.0, "1,204"),
    ],
)
def test_hours_have_three_digits_or_four_places(seconds: float | None, words: str):
    assert hours(seconds) == words


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        (None, "n/a"),
        (0.0, "0.00"),
        (6e-5, "<0.0001"),
        (0.00412, "0.0041"),
        (0.02, "0.02"),
        (0.1, "0.10"),
        (20.664, "20.66"),
        (1204.5, "1,204.50"),
    ],
)
def test_money_has_cents_and_small_sums_four_places(amount: float | None, words: str):
    assert money(amount) == words
