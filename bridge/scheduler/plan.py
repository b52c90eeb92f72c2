"""Planning: from queues in the database to arrays in the database.

What waits and what runs is read (bridge.scheduler.queues, bridge.scheduler.lives), what to do is
decided (bridge.core.plans), and written, one transaction each (bridge.scheduler.binding).

A round takes as long as what it does, however much waits. Of thousands of queues those matter that
have an array, or that a first plan, made of what little is known of each, would give one; only they
are looked into, and the plan is made again with what was found. Arrays that there is no time left
for are the next round's.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from bridge.clock import monotonic_s
from bridge.core.plans import PackingRules, Round, plan_round
from bridge.db import Actor
from bridge.scheduler.binding import bind_feed, record_plan, record_standing, refuse
from bridge.scheduler.context import ClusterContext
from bridge.scheduler.idle import start_leaving
from bridge.scheduler.images import request_again
from bridge.scheduler.lives import read_arrays, read_lives
from bridge.scheduler.queues import Queues, look_into, read_asked, read_queues
from bridge.scheduler.sharing import is_shared, read_sharing, reclaim, show_waits
from bridge.services.accounts import ask_again

# Queues without an array that one round looks into.
QUEUES_AT_ONCE = 100
# After so long a round makes no further array, seconds.
PLANS_S = 0.1
# For so long a queue is not looked into whose messages could not run, where many others wait.
BARRED = timedelta(seconds=5)


def plan_tick(context: ClusterContext) -> list[str]:
    """Bind waiting messages to arrays; return the tokens of those that are new."""
    now = context.clock.now()
    with context.database.read() as session:
        queues = read_queues(session, context, now)
        asked = read_asked(session, context, queues)
        todo = _decide(session, context, queues, asked, now)
    context.memory.plan_again_s = todo.again_in_s
    for array_id in todo.releases:
        start_leaving(context, array_id)
    for array_id, count in todo.reclaims.items():
        reclaim(context.database, array_id, count, now)
    show_waits(context.database, context.name, todo.waits, context.memory)
    _settle_others(context, queues, now)
    for feed in todo.feeds:
        with context.database.begin_in_turn() as session:
            bind_feed(session, context, feed, queues.recipes, now)
    tokens = _record_plans(context, queues, todo, now)
    for actor in asked:
        with context.database.begin() as session:
            tokens.append(record_standing(session, context, actor.id, todo.division, now))
    return [token for token in tokens if token]


def _decide(
    session: Session,
    context: ClusterContext,
    queues: Queues,
    asked: Sequence[Actor],
    now: datetime,
) -> Round:
    """Return what to do in this round, of queues that were looked into alone."""
    cluster = context.cluster
    rules = PackingRules(
        target_task_s=cluster.target_task_s,
        max_tasks_per_array=cluster.max_tasks_per_array,
        max_messages_per_array=cluster.max_messages_per_array,
        linger_s=cluster.linger_s,
        feeds=cluster.idle_timeout_s > 0,
    )
    is_short = is_shared(context.site, cluster)
    arrays = read_arrays(session, context)
    if not is_short:
        actors = {actor_id for actor_id, _ in queues.waiting}
        arrays = [array for array in arrays if array.actor_id in actors]
    with_array = {(array.actor_id, array.username) for array in arrays}
    keys = list(queues.waiting)
    if len(keys) <= QUEUES_AT_ONCE:
        context.memory.barred.clear()
    else:
        _leave_out_barred(context, queues, now)
        keys = [key for key in queues.waiting if key in with_array]
    look_into(session, context, queues, keys, now)
    lives = read_lives(session, context, queues, arrays, now)
    sharing = None
    if is_short:
        users = {(one.tenant, one.username) for one in queues.waiting.values()}
        users |= {(live.tenant, live.username) for live in lives}
        users |= {(actor.tenant, actor.owner) for actor in asked}
        sharing = read_sharing(session, context.site, context.name, users, context.memory, now)
    todo = plan_round(list(queues.waiting.values()), lives, rules, sharing)
    chosen = [(plan.actor_id, plan.username) for plan in todo.plans]
    chosen = [key for key in chosen if key not in queues.recipes][:QUEUES_AT_ONCE]
    if chosen:
        look_into(session, context, queues, chosen, now)
        todo = plan_round(list(queues.waiting.values()), lives, rules, sharing)
    return todo


def _leave_out_barred(context: ClusterContext, queues: Queues, now: datetime) -> None:
    barred = context.memory.barred = {
        key: until for key, until in context.memory.barred.items() if until > now
    }
    for key in barred.keys() & queues.waiting.keys():
        del queues.waiting[key]


def _settle_others(context: ClusterContext, queues: Queues, now: datetime) -> None:
    """Do what is to be done for messages that may not run, or not yet."""
    for key, reason in queues.refused.items():
        refuse(context, key, reason, now)
    if queues.missing:
        request_again(context, queues.missing)
    for key, person in queues.unknown.items():
        context.memory.barred[key] = now + BARRED
        with context.database.begin() as session:
            ask_again(session, person, context.clock)


def _record_plans(
    context: ClusterContext, queues: Queues, todo: Round, now: datetime
) -> list[str | None]:
    """Write the new arrays, those of the actors that have waited longest first."""
    tokens = []
    until = monotonic_s() + PLANS_S
    for plan in todo.plans:
        key = (plan.actor_id, plan.username)
        if key not in queues.recipes:
            continue
        with context.database.begin_in_turn() as session:
            tokens.append(record_plan(session, context, plan, now))
        context.memory.note_served(key, now)
        if monotonic_s() >= until:
            break
    return tokens
