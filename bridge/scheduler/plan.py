"""Planning: from queues in the database to arrays in the database.

What waits and what runs is read (bridge.scheduler.queues, bridge.scheduler.lives), what to do is
decided (bridge.core.plans), and written, one transaction each (bridge.scheduler.binding).
"""

from __future__ import annotations

from bridge.core.plans import PackingRules, plan_round
from bridge.scheduler.binding import bind_feed, record_plan, record_standing, refuse
from bridge.scheduler.context import ClusterContext
from bridge.scheduler.idle import start_leaving
from bridge.scheduler.images import request_again
from bridge.scheduler.lives import read_lives
from bridge.scheduler.queues import read_asked, read_queues
from bridge.scheduler.sharing import is_shared, read_sharing, reclaim, show_waits
from bridge.services.accounts import ask_again


def plan_tick(context: ClusterContext) -> list[str]:
    """Bind waiting messages to arrays; return the tokens of those that are new."""
    cluster = context.cluster
    rules = PackingRules(
        target_task_s=cluster.target_task_s,
        max_tasks_per_array=cluster.max_tasks_per_array,
        max_messages_per_array=cluster.max_messages_per_array,
        linger_s=cluster.linger_s,
    )
    now = context.clock.now()
    is_short = is_shared(context.site, cluster)
    with context.database.read() as session:
        queues = read_queues(session, context, now)
        asked = read_asked(session, context, queues)
        lives = read_lives(session, context, queues, now, all_of_them=is_short)
        sharing = None
        if is_short:
            users = {(one.tenant, one.username) for one in queues.waiting}
            users |= {(live.tenant, live.username) for live in lives}
            users |= {(actor.tenant, actor.owner) for actor in asked}
            sharing = read_sharing(session, context.site, context.name, users, context.memory, now)
    todo = plan_round(queues.waiting, lives, rules, sharing)
    context.memory.plan_again_s = todo.again_in_s
    for array_id in todo.releases:
        start_leaving(context, array_id)
    for array_id, count in todo.reclaims.items():
        reclaim(context.database, array_id, count, now)
    show_waits(context.database, context.name, todo.waits, context.memory)
    for key, reason in queues.refused.items():
        refuse(context, key, reason, now)
    if queues.missing:
        request_again(context, queues.missing)
    for person in queues.unknown:
        with context.database.begin() as session:
            ask_again(session, person, context.clock)
    for feed in todo.feeds:
        with context.database.begin() as session:
            bind_feed(session, context, feed, queues.recipes, now)
    tokens = []
    for plan in todo.plans:
        with context.database.begin() as session:
            tokens.append(record_plan(session, context, plan, now))
        context.memory.note_served((plan.actor_id, plan.username), now)
    for actor in asked:
        with context.database.begin() as session:
            tokens.append(record_standing(session, context, actor.id, todo.division, now))
    return [token for token in tokens if token]
