"""Sharing: who gets the next workers where there are not enough for all. Pure.

Three bounds may be short: the cluster's, a tenant's, a user's; of workers and of arrays. Below each
of them workers go, one by one, to whoever has the fewest for their weight (weighted max-min
fairness): to a tenant, of it to a user, of that one to an actor. So nobody gets more than a fair
part while another of the same bound wants it, and nothing that somebody may have is left idle.

Workers that run are not forgotten: an array is fed as long as there is work, so a user who came
first with a million messages would keep all. Whoever has more than a fair part while others wait
for theirs is told to give some back (`Division.reclaims`): the workers end the message that they
run and leave, so what another waits for is one message, not the whole queue.

Where parts are equal and there are too few for all (three users, two workers), those that have a
worker keep it for a while (`Held.young`), and then whoever has used the least has their turn.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bridge.core.filling import Branch, Leaf, fill

# How the message begins that an actor's status has while a bound keeps its messages.
WAITS = "Messages wait: "

User = tuple[str, str]  # a tenant's name and a user's
Key = tuple[str, str]  # an actor's id and the user as whom its messages run


@dataclass(frozen=True)
class Bound:
    """At most `most` of something; `why` is the sentence for those who wait for it."""

    most: int
    why: str


@dataclass(frozen=True)
class Group:
    """A tenant, or a user of one.

    Attributes:
        weight: of its part, beside the others'.
        used: what it has used lately, in any unit.
        workers: bound of its workers.
        arrays: bound of its arrays.
    """

    weight: float = 1.0
    used: float = 0.0
    workers: Bound | None = None
    arrays: Bound | None = None


@dataclass(frozen=True)
class Sharing:
    """The groups, and what they share. Groups that are not in it have no bounds, and weight 1.

    Attributes:
        site: bound of all workers of the cluster.
        tenants: by name.
        users: by tenant and name.
        served: when an actor was last given workers for a user, in any unit; of a user's own
            actors, equal otherwise, the one that was served the longest ago comes first.
    """

    site: Bound | None = None
    tenants: Mapping[str, Group] = field(default_factory=dict)
    users: Mapping[User, Group] = field(default_factory=dict)
    served: Mapping[Key, float] = field(default_factory=dict)

    def tenant(self, name: str) -> Group:
        """Return the tenant's group."""
        return self.tenants.get(name, _PLAIN)

    def user(self, user: User) -> Group:
        """Return the user's group."""
        return self.users.get(user, _PLAIN)


_PLAIN = Group()


@dataclass(frozen=True)
class Want:
    """A new array of `tasks` workers for one actor's messages."""

    key: Key
    user: User
    tasks: int


@dataclass(frozen=True)
class Held:
    """An array that there is.

    Attributes:
        array_id: which.
        key: whose messages it takes.
        user: whose it is.
        workers: those that take messages, or may come to.
        young: of these, those that are to keep their place among equals.
        leaving: those that run something yet and take nothing more.
        is_idle: it has nothing to do, and gets nothing now.
    """

    array_id: str
    key: Key
    user: User
    workers: int
    young: int = 0
    leaving: int = 0
    is_idle: bool = False


@dataclass
class Division:
    """Who gets what.

    Attributes:
        grants: workers of each wanted array, those alone that get any.
        reclaims: by array, how many of its workers are to leave.
        releases: idle arrays that are in the way.
        waits: by actor and user, why they get less than they want.
        rooms: what is left of each bound: of the cluster's (None), of a tenant's, of a user's.
    """

    grants: dict[Key, int] = field(default_factory=dict)
    reclaims: dict[str, int] = field(default_factory=dict)
    releases: list[str] = field(default_factory=list)
    waits: dict[Key, str] = field(default_factory=dict)
    rooms: _Rooms | None = None

    def reserve(self, user: User, count: int) -> int:
        """Take room for one further array of the user's; return how many workers it may have."""
        return count if self.rooms is None else self.rooms.reserve(user, count)


def divide(wants: Sequence[Want], arrays: Sequence[Held], sharing: Sharing) -> Division:
    """Return who gets what of what is wanted. The same for the same, in whatever order it comes."""
    arrays = sorted(arrays, key=lambda array: array.array_id)
    target = _Target(wants, arrays, sharing)
    fill(target.root)
    rooms = _Rooms(arrays, sharing)
    done = Division(waits=target.waits, rooms=rooms)
    short = list(target.short_of_arrays)
    for want in target.steps:
        scope = rooms.take(want, is_first=want.key not in done.grants)
        if scope is None:
            done.grants[want.key] = done.grants.get(want.key, 0) + 1
        else:
            done.waits.setdefault(want.key, scope.bound.why)
            short.append(scope)
    done.reclaims = _choose(arrays, target.leaves)
    _free_idle(done, arrays, short)
    _rotate_arrays(done, arrays, target.short_of_arrays)
    return done


@dataclass(frozen=True)
class _Scope:
    """Whom a bound is for; one of the cluster is for all."""

    bound: Bound
    tenant: str | None = None
    username: str | None = None

    @property
    def place(self) -> _Place:
        return self.tenant, self.username

    def covers(self, user: User) -> bool:
        return self.tenant in (None, user[0]) and self.username in (None, user[1])


_Place = tuple[str | None, str | None]


def _worker_scopes(sharing: Sharing, user: User) -> list[_Scope]:
    """Return the bounds of workers that the user is under, the narrowest first."""
    own, whole = sharing.user(user).workers, sharing.tenant(user[0]).workers
    found = ((own, *user), (whole, user[0], None), (sharing.site, None, None))
    return [_Scope(bound, *place) for bound, *place in found if bound is not None]


def _array_scopes(sharing: Sharing, user: User) -> list[_Scope]:
    """Return the bounds of arrays that the user is under, the narrowest first."""
    own, whole = sharing.user(user).arrays, sharing.tenant(user[0]).arrays
    found = ((own, *user), (whole, user[0], None))
    return [_Scope(bound, *place) for bound, *place in found if bound is not None]


def _array_places(user: User) -> tuple[_Place, ...]:
    return user, (user[0], None)


class _Target:
    """How the workers should be divided, were they all free to be moved."""

    def __init__(self, wants: Sequence[Want], arrays: Sequence[Held], sharing: Sharing) -> None:
        self._sharing = sharing
        self._arrays: Counter[_Place] = Counter()
        self.steps: list[Want] = []  # who gets a new one, in this order
        self.waits: dict[Key, str] = {}
        self.short_of_arrays: list[_Scope] = []
        self.leaves: dict[Key, Leaf] = {}
        self.root = self._branch(sharing.site, 1.0, 0.0, "")
        self._branches: dict[_Place, Branch] = {(None, None): self.root}
        wanted = {want.key: want for want in wants}
        held: dict[Key, list[Held]] = defaultdict(list)
        for array in arrays:
            self._arrays.update(_array_places(array.user))
            held[array.key] += [] if array.is_idle else [array]
        users = {want.key: want.user for want in wants}
        users |= {array.key: array.user for array in arrays}
        for key in sorted(users):
            self._add_leaf(key, users[key], held[key], wanted.get(key))

    def _branch(self, bound: Bound | None, weight: float, used: float, name: str) -> Branch:
        most = None if bound is None else bound.most
        why = "" if bound is None else bound.why
        return Branch(weight, used, name, most, lambda leaf: self._wait(leaf, why))

    def _below(self, place: _Place, group: Group, name: str, parent: Branch) -> Branch:
        if place not in self._branches:
            made = self._branch(group.workers, group.weight, group.used, name)
            self._branches[place] = made
            parent.children.append(made)
        return self._branches[place]

    def _add_leaf(self, key: Key, user: User, held: Sequence[Held], want: Want | None) -> None:
        tenant = self._below((user[0], None), self._sharing.tenant(user[0]), user[0], self.root)
        parent = self._below(user, self._sharing.user(user), user[1], tenant)
        live = sum(array.workers for array in held)
        young = sum(min(array.young, array.workers) for array in held)
        more = 0 if want is None else want.tasks
        leaf = Leaf(self._sharing.served.get(key, 0.0), key, live, young, more, self._add)
        self.leaves[key] = leaf
        parent.children.append(leaf)
        if want is not None:
            leaf.about = want

    def _add(self, leaf: Leaf) -> bool:
        """Give the leaf a new worker, unless it needs an array and may have none."""
        want = leaf.about
        assert isinstance(want, Want)
        if leaf.count == leaf.live:
            for scope in _array_scopes(self._sharing, want.user):
                if self._arrays[scope.place] >= scope.bound.most:
                    self.waits[want.key] = scope.bound.why
                    self.short_of_arrays.append(scope)
                    return False
            self._arrays.update(_array_places(want.user))
        self.steps.append(want)
        return True

    def _wait(self, leaf: Leaf, why: str) -> None:
        if isinstance(leaf.about, Want):
            self.waits.setdefault(leaf.about.key, why)


class _Rooms:
    """What is left of each bound at this moment, with all that has not gone yet."""

    def __init__(self, arrays: Sequence[Held], sharing: Sharing) -> None:
        self._sharing = sharing
        self._workers: Counter[_Place] = Counter()
        self._arrays: Counter[_Place] = Counter()
        for array in arrays:
            self._count(array.user, array.workers + array.leaving)
            self._arrays.update(_array_places(array.user))

    def _count(self, user: User, count: int) -> None:
        for place in ((None, None), (user[0], None), user):
            self._workers[place] += count

    def take(self, want: Want, *, is_first: bool) -> _Scope | None:
        """Take room for one worker, and its array if it `is_first`; or return what is full."""
        for scope in _worker_scopes(self._sharing, want.user):
            if self._workers[scope.place] >= scope.bound.most:
                return scope
        if is_first:
            for scope in _array_scopes(self._sharing, want.user):
                if self._arrays[scope.place] >= scope.bound.most:
                    return scope
            self._arrays.update(_array_places(want.user))
        self._count(want.user, 1)
        return None

    def reserve(self, user: User, count: int) -> int:
        """Take room for an array of up to `count` workers; return how many."""
        for scope in _array_scopes(self._sharing, user):
            if self._arrays[scope.place] >= scope.bound.most:
                return 0
        for scope in _worker_scopes(self._sharing, user):
            count = min(count, scope.bound.most - self._workers[scope.place])
        if count <= 0:
            return 0
        self._arrays.update(_array_places(user))
        self._count(user, count)
        return count


def _choose(arrays: Sequence[Held], leaves: Mapping[Key, Leaf]) -> dict[str, int]:
    """Return how many workers of which arrays are to leave, so that the rest is what is to be."""
    excess = {key: leaf.live - min(leaf.count, leaf.live) for key, leaf in leaves.items()}
    chosen: Counter[str] = Counter()
    for of_old in (True, False):
        for array in arrays:
            if array.is_idle:
                continue
            there = array.workers - (array.young if of_old else chosen[array.array_id])
            count = min(excess[array.key], there)
            if count > 0:
                chosen[array.array_id] += count
                excess[array.key] -= count
    return dict(chosen)


def _free_idle(done: Division, arrays: Sequence[Held], short: Sequence[_Scope]) -> None:
    """Let as many idle arrays go as others are short of what these hold."""
    idle = [array for array in arrays if array.is_idle and array.workers]
    spare: Counter[_Scope] = Counter()
    for scope in short:
        if spare[scope] > 0:
            spare[scope] -= 1
            continue
        found = next((array for array in idle if scope.covers(array.user)), None)
        if found is not None:
            idle.remove(found)
            done.releases.append(found.array_id)
            spare[scope] += found.workers - 1


def _rotate_arrays(done: Division, arrays: Sequence[Held], short: Sequence[_Scope]) -> None:
    """Have an array that has had its time leave, for one whom a bound of arrays keeps out.

    One at a time for each such bound, and none while one that leaves already will make room.
    """
    for scope in dict.fromkeys(short):
        inside = [array for array in arrays if scope.covers(array.user)]
        if any(
            array.array_id in done.releases or array.workers <= done.reclaims.get(array.array_id, 0)
            for array in inside
        ):
            continue
        counts = Counter(array.user for array in inside)
        old = [array for array in inside if array.young == 0]
        if old:
            first = max(old, key=lambda array: (counts[array.user], array.array_id))
            done.reclaims[first.array_id] = first.workers
