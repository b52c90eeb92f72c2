"""How many messages make a measurement, and what is divided by what."""

from __future__ import annotations

import pytest

from tests.bench.peers.rates import Rate, divide, measure_rate, scale_count


def test_a_measurement_is_repeated_until_it_lasts() -> None:
    asked = []

    def run(count: int) -> float:
        asked.append(count)
        return 1 + count / 100  # a second to begin with, then 100 a second

    rate = measure_rate(run, first=10, aim_s=10, most=10_000)

    assert asked == [10, 91, 477, 827]
    assert rate == Rate(827, run(827))


def test_what_lasts_at_once_is_not_repeated() -> None:
    asked: list[int] = []
    rate = measure_rate(lambda count: asked.append(count) or 8.0, 16, aim_s=10, most=100)
    assert asked == [16]
    assert rate.per_s == 2


@pytest.mark.parametrize(
    ("count", "seconds", "most", "expected"),
    [(10, 1.0, 1000, 100), (10, 0.0, 1000, 1000), (10, 99.0, 1000, 2), (1, 1000.0, 9, 1)],
)
def test_counts_follow_the_rate_within_their_bounds(
    count: int, seconds: float, most: int, expected: int
) -> None:
    assert scale_count(count, seconds, 10, most) == expected


def test_like_is_divided_by_like() -> None:
    rates = {
        "true": {
            "loop": Rate(100, 10),
            "sbatch": Rate(20, 10),
            "parsl": Rate(80, 10, start_s=5),
            "none": Rate(90, 10, start_s=3),
            "none_idle": Rate(90, 15),
            "image": Rate(2000, 10, start_s=2),
            "image_idle": Rate(2000, 20),
        },
        "digits": {"loop": Rate(40, 10), "none": Rate(30, 10), "bare": Rate(9000, 10)},
    }

    assert divide(rates) == {
        "true_image_vs_loop": 20,
        "digits_none_vs_loop": 0.75,
        "sbatch_vs_peer": 50,  # both from an idle cluster
        "parsl_vs_peer": 25,  # both with workers in place
    }


def test_the_best_mode_of_those_measured_stands_against_a_peer() -> None:
    rates = {"true": {"none": Rate(90, 10), "dask": Rate(45, 10)}}
    assert divide(rates) == {"dask_vs_peer": 2}


def test_figures_say_only_what_was_measured() -> None:
    assert Rate(30, 20).figures() == {"per_s": 1.5, "count": 30, "seconds": 20}
    assert Rate(30, 20, 3, 1.7).figures()["start_s"] == 3
