"""Packing: which of the waiting messages go together into which job array. Pure.

An array serves one actor and runs as one user. (The design groups by what must be equal for
messages to share an array: cluster, owner, image, resources. But what bounds an array,
`max_workers`, the order of a stateful actor, the estimate of run time, belongs to one actor, and a
group of several would have to carry all of it per message for a few saved submissions.)

Messages go to arrays that already run first (late binding): as many as keep their workers busy
until the bridge looks again. What is left waits for those workers, unless the work is worth more of
them: then it becomes a new array, which takes with it what its workers need to begin. What each
array wants is decided first, as if there were room for all; where bounds are short,
bridge.core.shares then says who gets how much of it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from bridge.core.chunks import MAX_CHUNKS, plan_chunks
from bridge.core.shares import Division, Held, Key, Sharing, Want, divide

# What a container is taken to run before the actor has a history, seconds: the mean of Abaco's own
# published use is 11.7 s.
UNKNOWN_RUN_S = 10.0
# So much work lies ready for each worker of an array that runs, seconds: it outlasts a scheduler
# that is busy, or started anew. More is given when half of it is done.
AHEAD_S = 15.0
# A new array takes so much with it for each worker, seconds; and so many messages of an actor
# without a history, whose estimate may be wrong by a factor of a thousand. The rest of the queue
# goes to whichever worker is free first, and in chunks that fit.
START_S = 30.0
START_UNKNOWN = 16
# Messages that are out to one array at a time, at most: more than this a bridge does not get
# through in those seconds.
MOST_OUT = 10_000
# A further array for an actor that has workers follows the one before after this, unless it brings
# as many as there are: so a growing queue has its workers soon, and few arrays in all.
GROW_S = 10.0
# Work that is worth one more worker on a node that is held anyway, seconds; its start takes one.
FILL_S = 5.0


@dataclass(frozen=True)
class Waiting:
    """The messages of one actor that run as one user.

    Attributes:
        actor_id: whose they are.
        username: whose account they run under.
        count: messages that wait.
        head: the place of the first of them in the actor's queue; a lower one comes first.
        oldest_age_s: how long the first of them has waited.
        newest_age_s: how long ago the last of them arrived.
        mean_run_s: mean run time of the actor's containers, None before the first.
        max_workers: workers that the actor may have at once.
        in_order: each message must see what the one before it left.
        tenant: the actor's.
        node_workers: how many have room on a node that is held as a whole, however few there are.
    """

    actor_id: str
    username: str
    count: int
    head: int
    oldest_age_s: float
    newest_age_s: float
    mean_run_s: float | None
    max_workers: int
    in_order: bool = False
    tenant: str = ""
    node_workers: int = 1

    @property
    def each_s(self) -> float:
        """What one message is taken to need, seconds."""
        return max(0.001, UNKNOWN_RUN_S if self.mean_run_s is None else self.mean_run_s)


@dataclass(frozen=True)
class Live:
    """An array that has not ended.

    Attributes:
        array_id: which.
        actor_id: whose messages it takes.
        username: whose account it runs under.
        workers: those at work, and those that may still come.
        leaving: those that run something yet and take nothing more.
        open_count: its messages that are not final.
        room: messages that it may be given now.
        takes_more: whether it may ever be given any.
        tenant: its actor's.
        young: of its workers, those that have not had their time yet.
        is_going: all of its workers are to leave.
        age_s: how long ago it was planned.
    """

    array_id: str
    actor_id: str
    username: str
    workers: int
    leaving: int
    open_count: int
    room: int
    takes_more: bool
    tenant: str = ""
    young: int = 0
    is_going: bool = False
    age_s: float = math.inf


@dataclass(frozen=True)
class PackingRules:
    """What the cluster asks of arrays; see the keys of the same names in the site file.

    Attributes:
        feeds: whether arrays that run are given more; else each has all of its messages at once.
    """

    target_task_s: float
    max_tasks_per_array: int
    max_messages_per_array: int
    linger_s: float
    feeds: bool = True


@dataclass(frozen=True)
class ArrayPlan:
    """These messages, the first `message_count` that this actor has for this user, in this shape.

    Attributes:
        actor_id: whose messages.
        username: whose account they run under.
        message_count: how many, from the head of the queue.
        task_count: workers.
        chunk_sizes: messages per chunk, in order; they add up to `message_count`.
    """

    actor_id: str
    username: str
    message_count: int
    task_count: int
    chunk_sizes: tuple[int, ...]


@dataclass(frozen=True)
class Feed:
    """The next messages for an array that runs: `chunk_sizes` as in a plan."""

    array_id: str
    chunk_sizes: tuple[int, ...]


@dataclass
class Round:
    """What is to be done for all that waits.

    Attributes:
        feeds: for arrays that run; these come before the plans, each from the head of the queue.
        plans: new arrays.
        releases: idle arrays that are only in the way, of messages of their actor or of others.
        reclaims: by array, how many of its workers are to leave for others' sake.
        waits: by actor and user, why less is planned than the work is worth.
        division: what the bounds left, where there are any.
        again_in_s: after so long a burst that waits to be whole will be; None: none does.
    """

    feeds: list[Feed] = field(default_factory=list)
    plans: list[ArrayPlan] = field(default_factory=list)
    releases: list[str] = field(default_factory=list)
    reclaims: dict[str, int] = field(default_factory=dict)
    waits: dict[Key, str] = field(default_factory=dict)
    division: Division = field(default_factory=Division)
    again_in_s: float | None = None

    def wait(self, seconds: float) -> None:
        """Note that there will be something to plan after so long."""
        self.again_in_s = min(seconds, self.again_in_s or seconds)


def plan_round(
    queues: Sequence[Waiting],
    lives: Sequence[Live],
    rules: PackingRules,
    sharing: Sharing | None = None,
) -> Round:
    """Return what to do, for the actor whose first message is the oldest first.

    Args:
        queues: what waits.
        lives: the arrays of those actors; with `sharing`, of all.
        rules: of the cluster.
        sharing: what is short; None where nothing is.
    """
    by_actor: dict[str, list[Waiting]] = defaultdict(list)
    for queue in sorted(queues, key=lambda q: q.head):
        if queue.count > 0:
            by_actor[queue.actor_id].append(queue)
    arrays: dict[str, list[Live]] = defaultdict(list)
    for live in sorted(lives, key=lambda a: a.array_id):
        arrays[live.actor_id].append(live)
    done = Round()
    for actor_id in sorted(by_actor, key=lambda a: (-by_actor[a][0].oldest_age_s, a)):
        of_actor = by_actor[actor_id]
        if of_actor[0].in_order:
            _plan_next(of_actor[0], arrays[actor_id], done)
        else:
            _plan_actor(of_actor, arrays[actor_id], rules, done)
    if sharing is not None:
        _share(done, queues, lives, rules, sharing)
    return done


def _share(
    done: Round,
    queues: Sequence[Waiting],
    lives: Sequence[Live],
    rules: PackingRules,
    sharing: Sharing,
) -> None:
    """Cut the round to what each may have."""
    by_key = {(queue.actor_id, queue.username): queue for queue in queues}
    fed = {feed.array_id for feed in done.feeds}
    gone = set(done.releases)
    wants = [
        Want(
            (plan.actor_id, plan.username),
            (by_key[plan.actor_id, plan.username].tenant, plan.username),
            plan.task_count,
        )
        for plan in done.plans
    ]
    held = [
        _held(
            live,
            is_going=live.is_going or live.array_id in gone,
            is_idle=not live.open_count and live.array_id not in fed,
        )
        for live in lives
    ]
    division = divide(wants, held, sharing)
    done.division, done.waits, done.reclaims = division, division.waits, division.reclaims
    done.releases += division.releases
    done.plans = [
        _cut(plan, by_key[plan.actor_id, plan.username], rules, tasks)
        for plan in done.plans
        if (tasks := division.grants.get((plan.actor_id, plan.username), 0))
    ]
    # All of whose workers are to leave, nothing more is given.
    empty = {
        live.array_id for live in lives if division.reclaims.get(live.array_id) == live.workers
    }
    done.feeds = [feed for feed in done.feeds if feed.array_id not in empty]


def _held(live: Live, *, is_going: bool, is_idle: bool) -> Held:
    workers = 0 if is_going else live.workers
    return Held(
        live.array_id,
        (live.actor_id, live.username),
        (live.tenant, live.username),
        workers,
        live.young,
        live.workers + live.leaving - workers,
        is_idle,
    )


def _cut(plan: ArrayPlan, queue: Waiting, rules: PackingRules, tasks: int) -> ArrayPlan:
    """Return a plan for fewer workers: the messages of those that are missing stay in the queue."""
    if tasks >= plan.task_count:
        return plan
    return _plan(queue, rules, tasks, math.ceil(plan.message_count * tasks / plan.task_count))


def left_to_linger(queue: Waiting, linger_s: float) -> float:
    """Return how long until a burst counts as whole, seconds: 0 where it does.

    That is after a pause of `linger_s`, or ten times that at most.
    """
    left_s = min(linger_s - queue.newest_age_s, 10 * linger_s - queue.oldest_age_s)
    return max(0.0, min(linger_s, left_s))


def _plan_next(queue: Waiting, arrays: Sequence[Live], done: Round) -> None:
    """Give out the head of a stateful actor's queue, once all before it are final.

    Nothing is gained by waiting for a burst: one message at a time is given out. Workers of other
    arrays do not count: with nothing open there is nothing that they could run.
    """
    if any(live.open_count for live in arrays):
        return
    mine = [
        live
        for live in arrays
        if live.takes_more and live.workers and live.username == queue.username
    ]
    done.releases += [live.array_id for live in arrays if live not in mine]
    if any(live.room for live in mine):
        fed = next(live for live in mine if live.room)
        done.feeds.append(Feed(fed.array_id, (1,)))
    elif not mine:
        done.plans.append(ArrayPlan(queue.actor_id, queue.username, 1, 1, (1,)))


def _plan_actor(
    queues: Sequence[Waiting], arrays: Sequence[Live], rules: PackingRules, done: Round
) -> None:
    """Serve a stateless actor's users, whose message came first first.

    One who gets no worker because others have them all stops those behind: were they fed on, their
    arrays would never come to an end.
    """
    idle = [live for live in arrays if not live.open_count]
    done.releases += [live.array_id for live in idle if not live.takes_more]
    free = queues[0].max_workers - sum(live.workers + live.leaving for live in arrays)
    for queue in queues:
        mine = [live for live in arrays if live.takes_more and live.username == queue.username]
        fed = _feed(queue, mine, done)
        left = queue.count - fed
        workers = sum(live.workers for live in mine)
        open_count = fed + sum(live.open_count for live in mine)
        if left == 0:
            continue
        wanted = math.ceil((left + open_count) * queue.each_s / rules.target_task_s)
        needed = min(max(1, wanted) - workers, free, left, rules.max_tasks_per_array)
        left_s = max(left_to_linger(queue, rules.linger_s), _left_to_grow(mine, needed))
        if needed > 0 and left_s > 0:
            done.wait(left_s)
        elif needed > 0:
            tasks = min(_fill_nodes(queue, needed, left), free, left, rules.max_tasks_per_array)
            share = math.ceil(left * tasks / (tasks + workers))
            plan = _plan(queue, rules, tasks, share)
            done.plans.append(plan)
            free -= plan.task_count
        elif not workers and free <= 0:
            done.releases += [live.array_id for live in idle if live.takes_more]
            return


def _fill_nodes(queue: Waiting, needed: int, left: int) -> int:
    """Return how many workers are worth it where `needed` are, and others of their nodes are free.

    Each costs the node a start, so there must be some work for it.
    """
    room = math.ceil(needed / queue.node_workers) * queue.node_workers
    return max(needed, min(room, int(left * queue.each_s / FILL_S)))


def _left_to_grow(arrays: Sequence[Live], tasks: int) -> float:
    """Return how long a queue that has `arrays` waits for `tasks` more workers, seconds."""
    if tasks >= sum(live.workers for live in arrays):
        return 0.0
    return max(0.0, GROW_S - min((live.age_s for live in arrays), default=math.inf))


def _feed(queue: Waiting, arrays: Sequence[Live], done: Round) -> int:
    """Give messages to arrays that run, so that all workers have as much to do; return how many."""
    left = queue.count
    # None waits behind a long one: it would start sooner at whichever worker is free first.
    each = math.ceil(AHEAD_S / queue.each_s) + (queue.each_s < AHEAD_S)
    ahead_of = {live.array_id: min(each * live.workers, MOST_OUT) for live in arrays}
    hungry = [
        live
        for live in arrays
        if live.room > 0 and live.open_count <= max(ahead_of[live.array_id] / 2, live.workers - 1)
    ]
    workers = sum(live.workers for live in hungry)
    open_count = sum(live.open_count for live in hungry)
    for live in sorted(hungry, key=lambda a: (a.open_count / max(1, a.workers), a.array_id)):
        share = math.ceil((left + open_count) * live.workers / max(1, workers))
        workers -= live.workers
        open_count -= live.open_count
        most = min(share, ahead_of[live.array_id]) - live.open_count
        count = min(left, live.room, most)
        if count > 0:
            left -= count
            chunks = plan_chunks(count, live.workers, queue.mean_run_s, behind=left)
            done.feeds.append(Feed(live.array_id, chunks))
    return queue.count - left


def _plan(queue: Waiting, rules: PackingRules, tasks: int, share: int) -> ArrayPlan:
    count = min(share, rules.max_messages_per_array, MOST_OUT)
    if rules.feeds:
        each = START_UNKNOWN if queue.mean_run_s is None else 1 + math.ceil(START_S / queue.each_s)
        count = min(count, each * tasks)
    tasks = min(tasks, count)
    behind = queue.count - count if rules.feeds else 0
    chunks = plan_chunks(count, tasks, queue.mean_run_s, behind)[:MAX_CHUNKS]
    return ArrayPlan(queue.actor_id, queue.username, sum(chunks), min(tasks, len(chunks)), chunks)
