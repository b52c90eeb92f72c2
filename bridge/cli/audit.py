"""`bridge audit`: the audit trail, as JSON lines."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click

from bridge.audit import Wanted, find
from bridge.audit.trail import shown
from bridge.db import Database
from bridge.db.upgrade import check
from bridge.settings import read_settings

_FORMS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]


@click.command()
@click.option("--tenant", help="In this tenant.")
@click.option("--user", "username", help="By this user; with a nonce it is the nonce's owner.")
@click.option("--action", help="What was done: actor.create, or a kind: actor.")
@click.option("--object", "what", help="To what: an actor's id, an alias, an array's token...")
@click.option("--since", type=click.DateTime(_FORMS), help="Not before, UTC.")
@click.option("--until", type=click.DateTime(_FORMS), help="Before, UTC.")
@click.option(
    "--limit", default=1000, show_default=True, type=click.IntRange(1), help="How many at most."
)
def audit(
    tenant: str | None,
    username: str | None,
    action: str | None,
    what: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
) -> None:
    """Print who did what, the newest first, one JSON object a line.

    Reads the database that BRIDGE_DATABASE names. Posted messages are not in it: their executions
    are their record, and the log has them.
    """
    url = read_settings().database_url
    check(url)
    database = Database(url)
    wanted = Wanted(tenant, username, action, what, _utc(since), _utc(until))
    for entry in find(database, wanted, limit):
        click.echo(json.dumps(shown(entry)))
    database.close()


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)
