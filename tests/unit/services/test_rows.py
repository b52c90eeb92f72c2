"""Two requests may want the same row at the same moment."""

from __future__ import annotations

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from bridge.core.statuses import ImageStatus
from bridge.db import Image
from bridge.services.rows import find_or_insert
from tests.factories.rows import START, add_image

REFERENCE = "docker.io/library/debian:latest"


def image(**changes):
    values = {
        "cluster": "alpha",
        "tenant": "PHYSICS",
        "reference": REFERENCE,
        "status": ImageStatus.REQUESTED,
        "create_time": START,
    }
    return Image(**values | changes)


def test_the_slower_of_two_finds_the_row_of_the_faster(database):
    with database.begin() as session:
        theirs = add_image(session, reference=REFERENCE).id
    looks = iter([None])  # at the first look it was not there yet
    with database.begin() as session:
        query = select(Image).where(Image.reference == REFERENCE)
        found = find_or_insert(
            session, lambda: next(looks, True) and session.scalars(query).one_or_none(), image()
        )
        assert found.id == theirs
    with database.read() as session:
        assert session.query(Image).count() == 1


def test_what_the_database_refuses_for_another_reason_is_raised(database):
    with pytest.raises(IntegrityError), database.begin() as session:
        find_or_insert(session, lambda: None, image(create_time=None))
