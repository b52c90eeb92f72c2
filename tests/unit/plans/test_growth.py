"""Workers that follow the backlog: arrivals and run times of any kind against a simulated cluster.

No message is left, no worker waits beside a message for long, no more workers than there may be,
no storm of arrays.
"""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.core.plans import GROW_S, START_UNKNOWN, PackingRules
from tests.unit.plans.simulation import STEP_S, SURPLUS_S, Sim

BURSTS = st.lists(
    st.tuples(
        st.floats(0, 120),  # seconds since the one before
        st.floats(0, 0.5),  # between its messages
        st.floats(0.01, 1),  # of 300 messages or ten minutes of work, how much
    ),
    min_size=1,
    max_size=3,
)


def arrivals_of(
    bursts: list[tuple[float, float, float]], run_s: float
) -> list[tuple[float, float]]:
    found, now_s = [], 0.0
    for pause_s, gap_s, share in bursts:
        now_s += pause_s
        for _ in range(math.ceil(share * min(300, 600 / run_s))):
            found.append((now_s, run_s))
            now_s += gap_s
    return found


@settings(max_examples=50, deadline=None)
@given(
    BURSTS,
    st.sampled_from([0.003, 0.1, 0.8, 10.0, 90.0]),
    st.lists(st.sampled_from([0.5, 5.0, 120.0]), min_size=1, max_size=3),
    st.sampled_from([20.0, 600.0]),
    st.integers(1, 40),
    st.sampled_from([50, 100_000]),
)
def test_workers_follow_the_backlog(
    bursts: list[tuple[float, float, float]],
    run_s: float,
    delays: list[float],
    target_task_s: float,
    max_workers: int,
    max_messages: int,
) -> None:
    arrivals = arrivals_of(bursts, run_s)
    rules = PackingRules(target_task_s, 100, max_messages, linger_s=0.2)
    sim = Sim(arrivals, delays, rules, max_workers)
    work_s = run_s * len(arrivals)
    arrays = math.ceil(len(arrivals) / max_messages)
    most_s = arrivals[-1][0] + work_s + arrays * (max(delays) + 60) + 300

    assert sim.run(most_s), f"{sim.done} of {len(arrivals)} at {sim.now_s:.0f} s"
    assert sim.most_workers <= max_workers
    # While another has the first chunk of an actor of which nothing is known.
    assert sim.unserved_s <= START_UNKNOWN * run_s + 2 * STEP_S
    # Beside those that double the workers: one each GROW_S, and one each time that none was left.
    if max_messages > len(arrivals):
        doublings = math.log2(max_workers) + 1
        for begun in sim.planned:
            in_a_minute = sum(begun <= at < begun + 60 for at in sim.planned)
            assert in_a_minute <= 60 / GROW_S + 2 * doublings


@pytest.mark.parametrize("run_s", [0.1, 1.0, 10.0])
def test_workers_do_not_wait_for_nothing(run_s: float) -> None:
    """Of a long queue's end, each worker waits for seconds, and not for the last of them."""
    count = int(2400 / run_s)
    sim = Sim([(0.0, run_s)] * count, [1.0], PackingRules(60, 100, 100_000, 0.2), 8)
    assert sim.run(1200)
    assert sim.most_workers == 8
    assert sim.surplus_s <= 8 * (SURPLUS_S + run_s)


def test_a_growing_queue_has_its_workers_soon() -> None:
    """A message alone, and two seconds later thousands."""
    arrivals = [(0.0, 1.0), *[(2.0, 1.0)] * 4000]
    sim = Sim(arrivals, [1.0], PackingRules(100, 100, 100_000, 0.2), 32)
    assert sim.run(180)  # 4000 s of work by 32 workers
    assert len(sim.planned) <= 4
