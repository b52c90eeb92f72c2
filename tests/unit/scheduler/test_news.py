"""The newest message, on either database."""

from __future__ import annotations

from bridge.db import Database
from bridge.scheduler.news import News
from tests.unit.scheduler.world import World


def test_the_newest_message_is_the_last_that_was_posted(each_world: World) -> None:
    actor = each_world.actor()
    news = News(each_world.database)
    assert news.newest() == 0
    each_world.post(actor, 3)
    assert news.newest() == 3
    each_world.post(actor)
    assert news.newest() == 4
    news.close()
    assert news.newest() == 4
    news.close()


def test_a_database_that_is_away_has_none() -> None:
    news = News(Database("sqlite:////nowhere/at/all.db"))
    assert news.newest() is None
    assert news.newest() is None
    news.close()
