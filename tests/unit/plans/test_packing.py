"""Packing: nothing lost, nothing twice, no limit exceeded, the same for the same."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.chunks import MAX_CHUNK, MAX_CHUNKS
from bridge.core.plans import (
    GROW_S,
    MOST_OUT,
    START_UNKNOWN,
    Feed,
    Live,
    PackingRules,
    Round,
    Waiting,
    left_to_linger,
    plan_round,
)
from bridge.core.shares import Bound, Division, Sharing

RULES = PackingRules(
    target_task_s=600, max_tasks_per_array=100, max_messages_per_array=10_000, linger_s=1
)


def waiting(count: int = 1, **changes: object) -> Waiting:
    plain = Waiting(
        actor_id="a",
        username="alice",
        count=count,
        head=1,
        oldest_age_s=60,
        newest_age_s=60,
        mean_run_s=None,
        max_workers=6,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def live(**changes: object) -> Live:
    plain = Live(
        array_id="r",
        actor_id="a",
        username="alice",
        workers=1,
        leaving=0,
        open_count=0,
        room=1000,
        takes_more=True,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


AGES = st.floats(0, 1e6)
ACTORS = st.sampled_from("abc")
USERS = st.sampled_from(["alice", "bob"])
QUEUES = st.builds(
    lambda actor_id, username, count, head, ages, mean, node: Waiting(
        actor_id, username, count, head, max(ages), min(ages), mean, 1, node_workers=node
    ),
    ACTORS,
    USERS,
    st.integers(0, 30_000),
    st.integers(1, 10**6),
    st.tuples(AGES, AGES),
    st.none() | st.floats(0, 1e5),
    st.sampled_from([1, 1, 4]),
)
LIVES = st.builds(
    lambda number, actor_id, username, workers, leaving, count, room, takes: Live(
        f"r{number}", actor_id, username, workers, leaving, count, room if takes else 0, takes
    ),
    st.integers(0, 99),
    ACTORS,
    USERS,
    st.integers(0, 9),
    st.integers(0, 2),
    st.integers(0, 1000),
    st.sampled_from([0, 1, 50, 10_000]),
    st.booleans(),
)
RULES_OF_ANY_KIND = st.builds(
    PackingRules,
    target_task_s=st.floats(0.001, 1e5),
    max_tasks_per_array=st.integers(1, 1000),
    max_messages_per_array=st.integers(1, 20_000),
    linger_s=st.floats(0, 100),
    feeds=st.booleans(),
)


@dataclass(frozen=True)
class Case:
    """What one round is asked, and what came of it."""

    queues: list[Waiting]
    lives: list[Live]
    rules: PackingRules
    done: Round
    sharing: Sharing | None = None

    def queue(self, actor_id: str, username: str) -> Waiting:
        return next(q for q in self.queues if (q.actor_id, q.username) == (actor_id, username))

    def live(self, array_id: str) -> Live:
        return next(array for array in self.lives if array.array_id == array_id)

    def given(self, queue: Waiting) -> int:
        """Return how many messages of the queue are given out."""
        fed = [
            sum(feed.chunk_sizes)
            for feed in self.done.feeds
            if (self.live(feed.array_id).actor_id, self.live(feed.array_id).username)
            == (queue.actor_id, queue.username)
        ]
        planned = [
            plan.message_count
            for plan in self.done.plans
            if (plan.actor_id, plan.username) == (queue.actor_id, queue.username)
        ]
        return sum(fed) + sum(planned)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    queues = draw(
        st.lists(
            QUEUES, max_size=6, unique_by=(lambda q: (q.actor_id, q.username), lambda q: q.head)
        )
    )
    # These belong to the actor.
    most = {actor: draw(st.integers(1, 20)) for actor in "abc"}
    in_order = {actor: draw(st.booleans()) for actor in "abc"}
    queues = [
        replace(q, max_workers=most[q.actor_id], in_order=in_order[q.actor_id]) for q in queues
    ]
    lives = draw(st.lists(LIVES, max_size=6, unique_by=lambda array: array.array_id))
    rules = draw(RULES_OF_ANY_KIND)
    most = draw(st.none() | st.integers(0, 30))
    sharing = None if most is None else Sharing(Bound(most, "short"))
    done = plan_round(queues, lives, rules, sharing)
    return Case(queues, lives, rules, done, sharing)


@given(cases())
def test_no_limit_is_exceeded(case: Case) -> None:
    new: Counter[str] = Counter()
    for plan in case.done.plans:
        assert 1 <= plan.task_count <= case.rules.max_tasks_per_array
        assert plan.message_count <= case.rules.max_messages_per_array
        assert plan.task_count <= len(plan.chunk_sizes)
        new[plan.actor_id] += plan.task_count
    for queue in case.queues:
        if not queue.in_order and new[queue.actor_id]:
            there = [a.workers + a.leaving for a in case.lives if a.actor_id == queue.actor_id]
            assert new[queue.actor_id] + sum(there) <= queue.max_workers


@given(cases())
def test_no_message_is_given_out_twice(case: Case) -> None:
    for queue in case.queues:
        assert case.given(queue) <= queue.count


@given(cases())
def test_the_chunks_hold_every_message_once(case: Case) -> None:
    for plan in case.done.plans:
        assert sum(plan.chunk_sizes) == plan.message_count
    for what in (*case.done.plans, *case.done.feeds):
        assert what.chunk_sizes
        assert all(0 < size <= MAX_CHUNK for size in what.chunk_sizes)


@given(cases())
def test_an_array_is_fed_what_it_has_room_for(case: Case) -> None:
    fed = [feed.array_id for feed in case.done.feeds]
    assert len(fed) == len(set(fed))
    for feed in case.done.feeds:
        array = case.live(feed.array_id)
        assert array.takes_more
        assert sum(feed.chunk_sizes) <= array.room
        case.queue(array.actor_id, array.username)


@given(cases())
def test_what_is_released_has_nothing_to_do(case: Case) -> None:
    fed = {feed.array_id for feed in case.done.feeds}
    for array_id in case.done.releases:
        assert case.live(array_id).open_count == 0
        assert array_id not in fed
    assert len(case.done.releases) == len(set(case.done.releases))


def shown(done: Round) -> Round:
    """Return the round without what is no part of the decision."""
    return replace(done, division=Division())


@given(cases())
def test_the_workers_of_all_are_bounded(case: Case) -> None:
    new = sum(plan.task_count for plan in case.done.plans)
    if case.sharing is not None and case.sharing.site is not None and new:
        there = sum(array.workers + array.leaving for array in case.lives)
        assert new + there <= case.sharing.site.most


@given(cases(), st.randoms(use_true_random=False))
def test_the_same_queues_give_the_same_round(case: Case, random: object) -> None:
    queues, lives = list(case.queues), list(case.lives)
    random.shuffle(queues)  # type: ignore[attr-defined]
    random.shuffle(lives)  # type: ignore[attr-defined]
    assert shown(plan_round(queues, lives, case.rules, case.sharing)) == shown(case.done)


@given(cases())
def test_of_a_stateful_actor_one_message_is_out(case: Case) -> None:
    for actor_id in {queue.actor_id for queue in case.queues if queue.in_order}:
        queues = [q for q in case.queues if q.actor_id == actor_id and q.count]
        given_out = sum(case.given(queue) for queue in queues)
        if any(array.open_count for array in case.lives if array.actor_id == actor_id):
            assert given_out == 0
        else:
            assert given_out <= 1
        if given_out:
            assert case.given(min(queues, key=lambda q: q.head)) == 1


@given(cases())
def test_whoever_comes_first_is_never_passed_by(case: Case) -> None:
    """The user whose message is the oldest gets workers, or what is in the way is let go."""
    for actor_id in {queue.actor_id for queue in case.queues if case.sharing is None}:
        queues = [q for q in case.queues if q.actor_id == actor_id and q.count]
        arrays = [array for array in case.lives if array.actor_id == actor_id]
        if not queues or queues[0].in_order:
            continue
        first = min(queues, key=lambda q: q.head)
        mine = [a for a in arrays if a.takes_more and a.username == first.username and a.workers]
        free = first.max_workers - sum(array.workers + array.leaving for array in arrays)
        if mine or free > 0 or case.given(first):
            continue
        assert sum(case.given(queue) for queue in queues) == 0
        idle = {array.array_id for array in arrays if array.open_count == 0}
        assert idle <= set(case.done.releases)


class TestArraysThatRun:
    def test_are_fed_before_anything_new_is_planned(self) -> None:
        done = plan_round([waiting(mean_run_s=2)], [live()], RULES)
        assert (done.feeds, done.plans, done.releases) == ([Feed("r", (1,))], [], [])

    def test_are_fed_at_once(self) -> None:
        queue = waiting(oldest_age_s=0, newest_age_s=0)
        assert plan_round([queue], [live()], RULES).feeds == [Feed("r", (1,))]

    @pytest.mark.parametrize(("mean_run_s", "count"), [(None, 3), (60, 1), (1, 16), (0.02, 751)])
    def test_get_work_for_some_seconds(self, mean_run_s: float | None, count: int) -> None:
        [feed] = plan_round([waiting(5000, mean_run_s=mean_run_s)], [live()], RULES).feeds
        assert sum(feed.chunk_sizes) == count

    def test_that_have_enough_to_do_are_not_fed(self) -> None:
        done = plan_round([waiting(5, mean_run_s=1)], [live(open_count=9)], RULES)
        assert (done.feeds, done.plans) == ([], [])

    def test_are_given_more_when_half_of_it_is_done(self) -> None:
        queue = waiting(100, mean_run_s=1, max_workers=1)
        [feed] = plan_round([queue], [live(open_count=8)], RULES).feeds
        assert sum(feed.chunk_sizes) == 8

    def test_have_a_bounded_number_at_a_time(self) -> None:
        queue = waiting(10**6, mean_run_s=0.001)
        arrays = [live(workers=100, room=10**6, open_count=count) for count in (0, 4000, 5001)]
        given = [plan_round([queue], [one], RULES).feeds for one in arrays]
        assert [sum(sum(feed.chunk_sizes) for feed in feeds) for feeds in given] == [
            MOST_OUT,
            MOST_OUT - 4000,
            0,
        ]
        [plan] = plan_round([waiting(10**6, mean_run_s=0.001)], [], RULES).plans
        assert plan.message_count == MOST_OUT

    def test_have_no_long_message_waiting_behind_another(self) -> None:
        queue = waiting(mean_run_s=3600)
        assert plan_round([queue], [live()], RULES).feeds == [Feed("r", (1,))]
        done = plan_round([queue], [live(open_count=1)], RULES)
        assert (done.feeds, [plan.task_count for plan in done.plans]) == ([], [1])

    def test_are_joined_by_others_where_the_work_is_worth_it(self) -> None:
        done = plan_round([waiting(1000, mean_run_s=3)], [live()], RULES)
        [plan] = done.plans
        assert plan.task_count == 4  # with the one there, as many as five would be planned
        assert sum(done.feeds[0].chunk_sizes) == 6
        assert plan.message_count == 44  # half a minute's work each; the rest waits for who is free

    def test_are_joined_by_few_at_a_time_after_a_while(self) -> None:
        queue = waiting(1000, mean_run_s=3, max_workers=100)
        soon = live(workers=4, age_s=GROW_S - 2, open_count=1000, room=0)
        done = plan_round([queue], [soon], replace(RULES, target_task_s=1000))
        assert (done.plans, done.again_in_s) == ([], 2)
        later = replace(soon, age_s=GROW_S)
        [plan] = plan_round([queue], [later], replace(RULES, target_task_s=1000)).plans
        assert plan.task_count == 2

    def test_are_joined_at_once_by_as_many(self) -> None:
        """A burst after a single message need not wait."""
        queue = waiting(1000, mean_run_s=3)
        [plan] = plan_round([queue], [live(age_s=1)], RULES).plans
        assert plan.task_count == 4

    def test_the_one_with_the_least_to_do_comes_first(self) -> None:
        arrays = [live(array_id="r1", open_count=1), live(array_id="r2")]
        assert plan_round([waiting()], arrays, RULES).feeds == [Feed("r2", (1,))]

    def test_all_get_as_much_to_do(self) -> None:
        lives = [live(array_id="a", workers=1, open_count=1), live(array_id="b", workers=3)]
        feeds = plan_round([waiting(39, mean_run_s=0.1)], lives, RULES).feeds
        assert {feed.array_id: sum(feed.chunk_sizes) for feed in feeds} == {"a": 9, "b": 30}

    def test_another_user_s_are_not_for_this_one(self) -> None:
        done = plan_round([waiting()], [live(username="bob")], RULES)
        assert done.feeds == []
        assert [plan.username for plan in done.plans] == ["alice"]

    def test_make_room_for_another_user(self) -> None:
        queues = [waiting(max_workers=1), waiting(username="bob", head=2, max_workers=1)]
        done = plan_round(queues, [live(username="bob")], RULES)
        assert (done.feeds, done.plans, done.releases) == ([], [], ["r"])

    def test_of_an_older_actor_are_let_go(self) -> None:
        done = plan_round([waiting()], [live(takes_more=False, room=0)], RULES)
        assert done.releases == ["r"]
        assert len(done.plans) == 1

    def test_that_are_not_whole_yet_are_waited_for(self) -> None:
        done = plan_round([waiting()], [live(room=0, open_count=1)], RULES)
        assert (done.feeds, done.plans, done.releases) == ([], [], [])


class TestOrder:
    def test_one_message_at_a_time(self) -> None:
        queue = waiting(100, in_order=True, max_workers=1)
        [plan] = plan_round([queue], [], RULES).plans
        assert (plan.message_count, plan.task_count, plan.chunk_sizes) == (1, 1, (1,))
        assert plan_round([queue], [live()], RULES).feeds == [Feed("r", (1,))]
        assert plan_round([queue], [live(open_count=1)], RULES) == Round()

    def test_no_burst_is_waited_for(self) -> None:
        queue = waiting(in_order=True, oldest_age_s=0, newest_age_s=0)
        assert len(plan_round([queue], [], RULES).plans) == 1

    @pytest.mark.parametrize("changes", [{"takes_more": False, "room": 0}, {"workers": 0}], ids=str)
    def test_an_array_that_cannot_run_it_is_let_go(self, changes: dict[str, object]) -> None:
        done = plan_round([waiting(in_order=True)], [live(**changes)], RULES)
        assert (done.feeds, len(done.plans), done.releases) == ([], 1, ["r"])


def test_the_oldest_message_comes_first() -> None:
    queues = [waiting(actor_id="young", oldest_age_s=5), waiting(actor_id="old", oldest_age_s=50)]
    assert [plan.actor_id for plan in plan_round(queues, [], RULES).plans] == ["old", "young"]


@pytest.mark.parametrize(
    ("mean_run_s", "tasks"),
    [(None, 6), (0.0, 1), (0.01, 1), (1.0, 2), (3.0, 5), (60.0, 6)],
)
def test_workers_follow_from_the_work(mean_run_s: float | None, tasks: int) -> None:
    [plan] = plan_round([waiting(1000, mean_run_s=mean_run_s)], [], RULES).plans
    assert plan.task_count == tasks


@pytest.mark.parametrize(
    ("changes", "tasks"),
    [
        ({}, 8),  # a node's, where the work alone is worth two
        ({"node_workers": 1}, 2),
        ({"count": 5, "mean_run_s": 200.0}, 5),  # no more than there are messages
        ({"max_workers": 6}, 6),
        ({"max_workers": 64, "mean_run_s": 50.0}, 16),  # two nodes, where nine are needed
        ({"mean_run_s": 0.01}, 1),  # a second of work
        ({"count": 10, "mean_run_s": 1.5}, 3),
    ],
    ids=str,
)
def test_a_node_that_is_held_is_filled(changes: dict[str, object], tasks: int) -> None:
    plain = waiting(100, mean_run_s=10.0, max_workers=64, node_workers=8)
    [plan] = plan_round([replace(plain, **changes)], [], RULES).plans  # type: ignore[arg-type]
    assert plan.task_count == tasks


def test_long_messages_get_a_chunk_each() -> None:
    [plan] = plan_round([waiting(4, mean_run_s=3600)], [], RULES).plans
    assert plan.chunk_sizes == (1, 1, 1, 1)


def test_short_messages_share_chunks() -> None:
    [plan] = plan_round([waiting(500, mean_run_s=0.02)], [], RULES).plans
    assert len(plan.chunk_sizes) <= 10


def test_an_actor_without_a_history_begins_with_a_few() -> None:
    [plan] = plan_round([waiting(5000)], [], RULES).plans
    assert plan.message_count == 6 * START_UNKNOWN


@pytest.mark.parametrize("mean_run_s", [None, 0.003, 3600])
def test_an_array_that_is_not_fed_has_all_of_its_messages(mean_run_s: float | None) -> None:
    rules = replace(RULES, feeds=False)
    [plan] = plan_round([waiting(9000, mean_run_s=mean_run_s, max_workers=4)], [], rules).plans
    assert plan.message_count == min(9000, sum(plan.chunk_sizes))
    assert plan.message_count == 9000 or len(plan.chunk_sizes) == MAX_CHUNKS


@pytest.mark.parametrize(
    ("newest_age_s", "oldest_age_s", "left_s"),
    [(0, 0, 1), (0.75, 5, 0.25), (1, 1, 0), (0, 9.5, 0.5), (0, 10, 0), (-3, -3, 1)],
)
def test_a_burst_is_waited_for(newest_age_s: float, oldest_age_s: float, left_s: float) -> None:
    """At most so long: the clock of whoever received them may be ahead."""
    queue = waiting(oldest_age_s=oldest_age_s, newest_age_s=newest_age_s)
    assert left_to_linger(queue, linger_s=1) == left_s
    done = plan_round([queue], [], RULES)
    assert len(done.plans) == (left_s == 0)
    assert done.again_in_s == (left_s or None)


def test_the_first_burst_that_will_be_whole_sets_the_time() -> None:
    queues = [
        waiting(actor_id=name, newest_age_s=age, oldest_age_s=age)
        for name, age in (("a", 0.5), ("b", 0.75), ("c", 0.25))
    ]
    assert plan_round(queues, [], RULES).again_in_s == 0.25
