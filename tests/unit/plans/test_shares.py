"""Sharing: no bound exceeded, nothing left idle, parts as the weights say, everybody's turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.shares import Bound, Division, Group, Held, Sharing, Want, divide

USERS = [("t", "ann"), ("t", "ben"), ("u", "cyd"), ("u", "dan")]
QUANTUM = 8  # rounds for which a worker counts as young


def bound(most: int, why: str = "short") -> Bound:
    return Bound(most, why)


def want(user: tuple[str, str], tasks: int = 10, actor: str = "") -> Want:
    return Want((actor or f"of-{user[1]}", user[1]), user, tasks)


def held(user: tuple[str, str], workers: int, number: int = 0, **changes: object) -> Held:
    plain = Held(f"r-{user[1]}-{number}", (f"of-{user[1]}", user[1]), user, workers, young=workers)
    return replace(plain, **changes)  # type: ignore[arg-type]


BOUNDS = st.none() | st.builds(bound, st.integers(0, 8))
GROUPS = st.builds(
    Group, st.sampled_from([0.5, 1.0, 3.0]), st.sampled_from([0.0, 7.0]), BOUNDS, BOUNDS
)


@dataclass(frozen=True)
class Case:
    wants: list[Want]
    arrays: list[Held]
    sharing: Sharing

    @property
    def done(self) -> Division:
        return divide(self.wants, self.arrays, self.sharing)

    def groups(self) -> list[tuple[set[tuple[str, str]], Bound | None, Bound | None]]:
        """Return of each group its users, and its bounds of workers and arrays."""
        sharing = self.sharing
        found = [({user}, sharing.user(user).workers, sharing.user(user).arrays) for user in USERS]
        for name in "tu":
            users = {user for user in USERS if user[0] == name}
            found.append((users, sharing.tenant(name).workers, sharing.tenant(name).arrays))
        return [*found, (set(USERS), sharing.site, None)]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    keys = [(user, f"a{number}-{user[1]}") for user in USERS for number in (1, 2)]
    wants = [
        Want((actor, user[1]), user, draw(st.integers(1, 9)))
        for user, actor in keys
        if draw(st.booleans())
    ]
    arrays = []
    for number in range(draw(st.integers(0, 6))):
        user, actor = draw(st.sampled_from(keys))
        workers = draw(st.integers(0, 6))
        arrays.append(
            Held(
                f"r{number}",
                (actor, user[1]),
                user,
                workers,
                draw(st.integers(0, workers)),
                draw(st.integers(0, 2)),
                draw(st.booleans()),
            )
        )
    sharing = Sharing(
        draw(BOUNDS),
        {name: draw(GROUPS) for name in "tu"},
        {user: draw(GROUPS) for user in USERS},
    )
    return Case(wants, arrays, sharing)


@given(cases())
def test_no_bound_is_exceeded(case: Case) -> None:
    done = case.done
    wanted = {want.key: want for want in case.wants}
    for users, of_workers, of_arrays in case.groups():
        there = [array for array in case.arrays if array.user in users]
        new = {key: n for key, n in done.grants.items() if wanted[key].user in users}
        if of_workers is not None and new:
            live = sum(array.workers + array.leaving for array in there)
            assert live + sum(new.values()) <= of_workers.most
        if of_arrays is not None and new:
            assert len(there) + len(new) <= of_arrays.most
    assert all(0 < count <= wanted[key].tasks for key, count in done.grants.items())


@given(cases())
def test_who_gets_less_stands_before_a_bound_that_is_reached(case: Case) -> None:
    """Nothing is left idle that somebody may have; and who waits is told why."""
    done = case.done
    for want in case.wants:
        granted = done.grants.get(want.key, 0)
        assert (want.key in done.waits) == (granted < want.tasks)
        if granted == want.tasks:
            continue
        full = False
        for users, of_workers, of_arrays in case.groups():
            if want.user not in users:
                continue
            there = [array for array in case.arrays if array.user in users]
            new = [w for w in case.wants if w.user in users and w.key in done.grants]
            taken = sum(array.workers + array.leaving for array in there)
            taken += sum(done.grants[one.key] for one in new)
            full |= of_workers is not None and taken >= of_workers.most
            # An array that others are to have when there are workers for it is not given away.
            waits = [w for w in case.wants if w.user in users and w.key not in done.grants]
            arrays = len(there) + len(new) + len(waits) - 1
            full |= of_arrays is not None and arrays >= of_arrays.most
        assert full


@given(cases())
def test_what_is_taken_back_is_there(case: Case) -> None:
    done = case.done
    arrays = {array.array_id: array for array in case.arrays}
    for array_id, count in done.reclaims.items():
        assert 0 < count <= arrays[array_id].workers
        assert not arrays[array_id].is_idle or case.sharing.tenants
    assert all(arrays[array_id].is_idle for array_id in done.releases)
    assert len(set(done.releases)) == len(done.releases)


@given(cases(), st.randoms(use_true_random=False))
def test_the_same_for_the_same(case: Case, random: object) -> None:
    wants, arrays = list(case.wants), list(case.arrays)
    random.shuffle(wants)  # type: ignore[attr-defined]
    random.shuffle(arrays)  # type: ignore[attr-defined]
    again, done = divide(wants, arrays, case.sharing), case.done
    assert (again.grants, again.reclaims, again.releases, again.waits) == (
        done.grants, done.reclaims, done.releases, done.waits,
    )  # fmt: skip


def test_without_bounds_everybody_gets_all() -> None:
    done = divide([want(user) for user in USERS], [], Sharing())
    assert set(done.grants.values()) == {10}
    assert (done.waits, done.reclaims, done.reserve(USERS[0], 7)) == ({}, {}, 7)


class Site:
    """A site on which rounds follow each other; each user's one actor always wants more."""

    def __init__(self, sharing: Sharing, tasks: Mapping[tuple[str, str], int]) -> None:
        self.sharing = sharing
        self.tasks = dict(tasks)
        self.workers: list[tuple[tuple[str, str], int]] = []  # whose, and since which round
        self.now = 0
        self.used: Counter[tuple[str, str]] = Counter()
        self.served: dict[tuple[str, str], float] = {}
        self.moved = 0

    def round(self) -> None:
        self.now += 1
        arrays = []
        for user in self.tasks:
            mine = [since for whose, since in self.workers if whose == user]
            young = sum(self.now - since < QUANTUM for since in mine)
            arrays.append(held(user, len(mine), young=young))
            self.used[user] += len(mine)
        live = self.live
        wants = [want(u, self.tasks[u] - live[u]) for u in self.tasks if self.tasks[u] > live[u]]
        users = {
            user: replace(self.sharing.user(user), used=float(self.used[user]))
            for user in self.tasks
        }
        tenants = {
            name: replace(
                self.sharing.tenant(name),
                used=float(sum(n for user, n in self.used.items() if user[0] == name)),
            )
            for name in {user[0] for user in self.tasks}
        }
        done = divide(wants, arrays, replace(self.sharing, users=users, tenants=tenants))
        for array_id, count in done.reclaims.items():
            for _ in range(count):
                name = array_id.split("-")[1]
                oldest = min((w for w in self.workers if w[0][1] == name), key=lambda w: w[1])
                self.workers.remove(oldest)
                self.moved += 1
        for one in wants:
            self.workers += [(one.user, self.now)] * done.grants.get(one.key, 0)

    @property
    def live(self) -> Counter[tuple[str, str]]:
        return Counter(user for user, _ in self.workers)

    def rounds(self, count: int) -> None:
        for _ in range(count):
            self.round()


ANN, BEN, CYD, DAN = USERS


@pytest.mark.parametrize(
    ("most", "weights", "parts"),
    [
        (12, {"t": 1, "u": 1}, {ANN: 3, BEN: 3, CYD: 3, DAN: 3}),
        (12, {"t": 2, "u": 1}, {ANN: 4, BEN: 4, CYD: 2, DAN: 2}),
        (12, {"t": 1, "u": 5}, {ANN: 1, BEN: 1, CYD: 5, DAN: 5}),
        (12, {"t": 1, "u": 1, ANN: 2}, {ANN: 4, BEN: 2, CYD: 3, DAN: 3}),
    ],
    ids=str,
)
def test_parts_are_as_the_weights_say(
    most: int, weights: Mapping[object, float], parts: Mapping[tuple[str, str], int]
) -> None:
    sharing = Sharing(
        bound(most),
        {name: Group(weights[name]) for name in "tu"},
        {user: Group(weights.get(user, 1.0)) for user in USERS},
    )
    site = Site(sharing, {ANN: 100})
    site.rounds(2)
    assert site.live == {ANN: most}  # nobody else wants any
    site.tasks |= dict.fromkeys(USERS, 100)
    site.rounds(2)
    assert site.live == parts
    moved = site.moved
    site.rounds(QUANTUM - 2)
    assert (site.live, site.moved) == (parts, moved)  # and then it is quiet


@given(
    st.integers(4, 12),
    st.lists(st.sampled_from([1.0, 2.0, 3.0]), min_size=4, max_size=4),
    st.lists(st.integers(1, 20), min_size=3, max_size=3),
)
def test_nobody_s_first_waits_for_another_s_million(
    most: int, weights: Sequence[float], tasks: Sequence[int]
) -> None:
    """With a worker for each, everybody has one after one message's time, whoever came first."""
    sharing = Sharing(bound(most), {}, {u: Group(w) for u, w in zip(USERS, weights, strict=True)})
    site = Site(sharing, {ANN: 1_000_000})
    site.rounds(3)
    site.tasks |= dict(zip(USERS[1:], tasks, strict=True))
    site.rounds(3)
    live = site.live
    assert sum(live.values()) == most
    by_tenant = {"t": live[ANN] + live[BEN], "u": live[CYD] + live[DAN]}
    assert min(by_tenant.values()) >= min(most // 2, 2, *tasks)
    if weights[0] == weights[1]:
        assert live[BEN] >= min(by_tenant["t"] // 2, tasks[0])


def test_of_too_few_each_has_a_turn() -> None:
    """One worker, four users: all have had it about as long in the end, and none flutters."""
    site = Site(Sharing(bound(1)), dict.fromkeys(USERS, 5))
    site.rounds(40 * (QUANTUM + 1))
    assert sum(site.used.values()) >= 40 * QUANTUM
    assert max(site.used.values()) - min(site.used.values()) <= 2 * (QUANTUM + 1)
    assert site.moved <= 40 * (QUANTUM + 1) / QUANTUM


def test_of_one_user_s_actors_each_has_a_turn() -> None:
    arrays = [held(ANN, 1, young=0)]
    first, second = want(ANN, actor="of-ann"), want(ANN, actor="other")
    sharing = Sharing(bound(1), served={first.key: 10.0})
    assert divide([second], arrays, sharing).reclaims == {"r-ann-0": 1}
    assert divide([second], [held(ANN, 1)], sharing).reclaims == {}  # it is young
    assert divide([first, second], [], sharing).grants == {second.key: 1}


def test_a_bound_that_was_lowered_is_come_down_to() -> None:
    sharing = Sharing(tenants={"t": Group(workers=bound(2))})
    done = divide([want(ANN)], [held(ANN, 3, young=1), held(BEN, 3, young=3)], sharing)
    assert sum(done.reclaims.values()) == 4
    assert done.grants == {}


def test_who_has_nothing_left_is_led_out() -> None:
    spent = Group(workers=bound(0, "spent"))
    done = divide([want(ANN)], [held(ANN, 2)], Sharing(users={ANN: spent}))
    assert (done.reclaims, done.waits) == ({"r-ann-0": 2}, {("of-ann", "ann"): "spent"})
    assert done.reserve(ANN, 1) == 0


def test_who_leaves_already_is_not_asked_twice() -> None:
    arrays = [held(ANN, 1, leaving=1)]
    done = divide([want(BEN, 1)], arrays, Sharing(bound(2)))
    assert (done.grants, done.reclaims) == ({}, {})


class TestIdle:
    def test_an_idle_array_makes_room_for_whoever_waits(self) -> None:
        arrays = [held(ANN, 1, is_idle=True), held(BEN, 1)]
        done = divide([want(CYD, 1)], arrays, Sharing(bound(2)))
        assert (done.releases, done.reclaims) == (["r-ann-0"], {})

    def test_and_stays_where_there_is_room(self) -> None:
        done = divide([want(CYD, 1)], [held(ANN, 1, is_idle=True)], Sharing(bound(2)))
        assert (done.releases, done.grants) == ([], {("of-cyd", "cyd"): 1})

    def test_or_where_it_would_be_of_no_use(self) -> None:
        sharing = Sharing(users={CYD: Group(workers=bound(0))})
        assert divide([want(CYD, 1)], [held(ANN, 1, is_idle=True)], sharing).releases == []


class TestArrays:
    def test_no_more_than_a_user_may_have(self) -> None:
        sharing = Sharing(users={ANN: Group(arrays=bound(2, "arrays"))})
        wants = [want(ANN, 1, actor=name) for name in "xyz"]
        done = divide(wants, [held(ANN, 1)], sharing)
        assert done.grants == {("x", "ann"): 1}
        assert done.waits == {("y", "ann"): "arrays", ("z", "ann"): "arrays"}

    def test_those_of_a_tenant_go_to_the_user_with_the_fewest_workers(self) -> None:
        sharing = Sharing(tenants={"t": Group(arrays=bound(2))})
        done = divide([want(ANN, actor="x"), want(BEN)], [held(ANN, 3)], sharing)
        assert set(done.grants) == {("of-ben", "ben")}

    def test_an_old_one_makes_room_for_who_has_none(self) -> None:
        sharing = Sharing(tenants={"t": Group(arrays=bound(2))})
        arrays = [held(ANN, 2, 0, young=0), held(ANN, 2, 1, young=0)]
        assert divide([want(BEN)], arrays, sharing).reclaims == {"r-ann-1": 2}
        one_leaves = [arrays[0], held(ANN, 0, 1, leaving=2)]
        assert divide([want(BEN)], one_leaves, sharing).reclaims == {}
        young = [held(ANN, 2, 0), held(ANN, 2, 1)]
        assert divide([want(BEN)], young, sharing).reclaims == {}

    def test_an_idle_one_does_at_once(self) -> None:
        sharing = Sharing(tenants={"t": Group(arrays=bound(2))})
        arrays = [held(ANN, 2, 0, young=0), held(ANN, 1, 1, is_idle=True)]
        done = divide([want(BEN)], arrays, sharing)
        assert (done.releases, done.reclaims) == (["r-ann-1"], {})
