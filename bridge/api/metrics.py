"""``/metrics``: figures for Prometheus, outside the prefixes of the contract.

They are of all tenants together and name no user and no actor, yet they say how busy others are:
they are for admins, of any tenant, and for whoever has the token in the site's `metrics_token_file`
(a Prometheus server, as its `authorization` credentials). No address is trusted instead: behind a
proxy every request comes from the proxy's.

Abaco's ``/metrics`` also ran its autoscaler (abaco_contract.md 3.17); here reading changes nothing.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import TypeVar

from flask import Blueprint, Response, request
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from bridge import __version__
from bridge.api.context import context
from bridge.api.describe import BARE, describe
from bridge.core.statuses import (
    ActorStatus,
    ArrayStatus,
    ExecutionStatus,
    ImageStatus,
    WorkerStatus,
)
from bridge.errors import PermissionDenied
from bridge.services.metrics import LATEST, Metrics, Queue, measure

blueprint = Blueprint("metrics", __name__)

Word = TypeVar("Word", bound=StrEnum)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@blueprint.get("/metrics")
@describe(
    "get_metrics",
    result=BARE,
    media={"text/plain": "Prometheus's text form."},
    is_public=True,
)
def get() -> Response:
    """Show figures of the whole service, for admins and the site's metrics token.

    The site's metrics token is no user's: it is taken here and nowhere else, as a bearer token.
    """
    _check_reader()
    here = context()
    with here.database.read() as session:
        metrics = measure(session, here.clock.now())
    registry = CollectorRegistry()
    registry.register(_Figures(metrics))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE)


def _check_reader() -> None:
    token = context().metrics_token
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    is_bearer = scheme.lower() == "bearer"
    if is_bearer and token is not None and hmac.compare_digest(given.strip().encode(), token):
        return
    if not context().authenticator.authenticate(request.headers).is_admin:
        raise PermissionDenied("Abaco Admin role required.")


class _Figures(Collector):
    """The figures in Prometheus's form: every word of an enumeration, also those without any."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """Yield each metric."""
        found = self._metrics
        yield _gauge("info", "The release.", ["version"], [(__version__, 1)])
        yield from _scheduler(found)
        yield from _queues(
            "executions_queued", "executions that no job array has taken", "actor_status",
            {word: found.queued.get(word, Queue()) for word in ActorStatus},
        )  # fmt: skip
        open_words = (ExecutionStatus.SUBMITTED, ExecutionStatus.RUNNING)
        yield _counts(
            "executions_in_arrays",
            "Executions that a job array has taken and not ended.",
            open_words,
            found.in_arrays,
        )
        posted = CounterMetricFamily(
            "abaco_bridge_executions_posted", "Executions ever; a few numbers may be left out."
        )
        posted.add_metric([], found.posted)
        yield posted
        yield _counts(
            "executions_latest",
            f"What has become of the latest {LATEST} executions.",
            ExecutionStatus,
            found.latest,
        )
        live = [word for word in ArrayStatus if word is not ArrayStatus.ENDED]
        yield _counts("arrays", "Job arrays that have not ended.", live, found.arrays)
        yield _counts("workers", "Workers of those arrays.", WorkerStatus, found.workers)
        yield _counts("images", "Images.", ImageStatus, found.images)
        yield _counts("actors", "Actors that are not deleted.", ActorStatus, found.actors)
        yield _gauge(
            "actors_held",
            "Actors whose messages wait because a limit is reached.",
            [],
            [("", found.held_actors)],
        )
        yield from _queues(
            "events", "events to be delivered", "target",
            {word: found.events.get(word, Queue()) for word in ("link", "webhook")},
        )  # fmt: skip
        yield _gauge(
            "events_given_up",
            "Events that were given up in the last days.",
            [],
            [("", found.events_given_up)],
        )


def _scheduler(found: Metrics) -> Iterator[Metric]:
    is_up = found.lease_s is not None and found.lease_s > 0
    yield _gauge("scheduler_up", "Whether a scheduler holds the lease.", [], [("", is_up)])
    if found.lease_s is not None:
        yield _gauge(
            "scheduler_lease_seconds",
            "Time until its lease runs out; it renews one of 15 s when half is over.",
            [],
            [("", found.lease_s)],
        )
    yield _gauge(
        "schedules_overdue",
        "Actors whose cron schedule should have run.",
        [],
        [("", found.overdue_schedules)],
    )


def _counts(name: str, about: str, words: Iterable[Word], counts: Mapping[Word, int]) -> Metric:
    return _gauge(name, about, ["status"], [(word, counts.get(word, 0)) for word in words])


def _queues(name: str, about: str, label: str, queues: Mapping[str, Queue]) -> Iterator[Metric]:
    yield _gauge(name, f"How many {about}.", [label], [(w, q.count) for w, q in queues.items()])
    yield _gauge(
        f"{name}_oldest_seconds",
        f"How long the oldest of the {about} has waited.",
        [label],
        [(word, queue.oldest_s) for word, queue in queues.items()],
    )


def _gauge(
    name: str, about: str, labels: Sequence[str], values: Iterable[tuple[str, float]]
) -> Metric:
    gauge = GaugeMetricFamily(f"abaco_bridge_{name}", about, labels=labels)
    for word, value in values:
        gauge.add_metric([word] if labels else [], float(value))
    return gauge
