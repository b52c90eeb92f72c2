"""Named points in the worker where a test can end or halt it.

A crash at each of these points must lose nothing and run nothing twice (design.md section 3). The
tests name a point and a signal in the environment, e.g. ``claimed:9``, and the worker sends itself
that signal when it gets there: no sleeping, no guessing. Without the variable it costs a compare.
"""

import os

VARIABLE = "BRIDGE_NODE_SIGNAL_AT"
_POINT, _, _SIGNAL = os.environ.get(VARIABLE, "").partition(":")


def reached(point: str) -> None:
    """Say that the worker is at `point`."""
    if point == _POINT:
        os.kill(os.getpid(), int(_SIGNAL))
