"""Moving chunks in an array's spool: a rename has one winner, and may be repeated."""

from __future__ import annotations

import contextlib

from bridge.db import Array
from bridge.errors import FileRefused
from bridge.launcher.spool import chunk_name, chunk_number, staged_name
from bridge.sessions import UserSession


def bound_chunks(array: Array) -> range:
    """Return the chunks that are bound to the array and not yet known to be the workers'."""
    return range(array.fed_chunks + 1, array.chunk_count + 1)


def put_staged(owner: UserSession, array: Array, ending: str, folder: str) -> set[int]:
    """Move the bound chunks from staged/ to `folder`; return those that this moved.

    One that is gone was moved before.
    """
    moved = set()
    for number in bound_chunks(array):
        source = f"{array.spool}/staged/{staged_name(number, ending)}"
        if _move(owner, source, f"{array.spool}/{folder}/{chunk_name(number)}"):
            moved.add(number)
    return moved


def take_back(owner: UserSession, array: Array) -> set[int]:
    """Move every chunk that no worker has claimed out of reach; return which those were.

    Whoever may still be about to put some into the inbox (a feed that was cut off) finds nothing to
    put, or is seen when this is done again.
    """
    taken = put_staged(owner, array, array.staged_as, "returned") if array.staged_as else set()
    inbox = f"{array.spool}/inbox"
    for entry in owner.list(inbox):
        number = chunk_number(entry.name)
        if (
            number is not None
            and is_chunk(array, entry.name)
            and _move(owner, f"{inbox}/{entry.name}", f"{array.spool}/returned/{entry.name}")
        ):
            taken.add(number)
    return taken


def is_chunk(array: Array, name: str) -> bool:
    """Whether `name` is of a chunk that the array was given: its owner may put others there."""
    number = chunk_number(name)
    return (
        number is not None
        and number in range(1, array.chunk_count + 1)
        and name == chunk_name(number)
    )


def order_stop(owner: UserSession, array: Array) -> None:
    """Tell the array's workers to take nothing more, where the disk has room for it."""
    with contextlib.suppress(FileRefused):
        owner.put(f"{array.spool}/stop", b"")


def _move(owner: UserSession, source: str, target: str) -> bool:
    """Rename; whether there was something to rename."""
    try:
        owner.rename(source, target)
    except FileRefused as error:
        if error.facts.get("kind") != "missing":
            raise
        return False
    return True
