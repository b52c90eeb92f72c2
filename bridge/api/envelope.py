"""The one shape of every answer: message, status, version, result (abaco_contract.md 1.2)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from flask import Response

from bridge import __version__

# Exactly this: with a charset behind it, tapipy takes the body for bytes (clients.md 0.3).
CONTENT_TYPE = "application/json"


def success(result: Any, message: str) -> Response:
    """Return a 200 with `result`; also for what was created, as Abaco does."""
    return _respond(200, "success", message, result)


def success_in_pages(
    pages: Iterable[Sequence[Any]],
    message: str,
    *,
    result: Mapping[str, Any] | None = None,
    key: str = "",
) -> Response:
    """Return a 200 with the items of all pages in one list: the result, or in `result` at `key`.

    What fits into one page is answered as ever. More is written page by page as the client reads;
    should a later page fail, the answer ends in the middle, which no reader takes for a list.
    """

    def answer(items: Sequence[Any]) -> Response:
        return success([*items] if result is None else {**result, key: [*items]}, message)

    following = iter(pages)
    first, second = next(following, ()), next(following, ())
    if not second:
        return answer(first)
    tail = "]}" if result is None else "]}}"
    head = answer(()).get_data(as_text=True).removesuffix(tail)

    def write() -> Iterator[str]:
        before = head
        for page in chain((first, second), following):
            yield before + json.dumps(page, allow_nan=False)[1:-1]
            before = ", "
        yield tail

    return Response(write(), content_type=CONTENT_TYPE)


def failure(status: int, message: str) -> Response:
    """Return an error in the same shape, its result null."""
    return _respond(status, "error", message, None)


def _respond(status: int, word: str, message: str, result: Any) -> Response:
    body = {"message": message, "status": word, "version": __version__, "result": result}
    return Response(json.dumps(body, allow_nan=False), status=status, content_type=CONTENT_TYPE)
