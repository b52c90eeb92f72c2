"""The drawing at the top of bridge/errors.py is the tree of its classes."""

from __future__ import annotations

import inspect

from bridge import errors


def drawn(kind=errors.BridgeError, depth=1):
    yield "    " * depth + kind.__name__
    for child in kind.__subclasses__():
        if child.__module__ == "bridge.errors":
            yield from drawn(child, depth + 1)


def test_the_drawing_is_true():
    drawing = [line for line in (errors.__doc__ or "").splitlines() if line.startswith("    ")]
    assert drawing == list(drawn())


def test_every_error_says_something_and_has_a_status():
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        assert kind().message
        assert 400 <= kind.status < 600
        assert kind("x", a=1).facts == {"a": 1}
