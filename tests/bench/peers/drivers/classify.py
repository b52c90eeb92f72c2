"""The digits classifier as a function that stays: what a warm worker, or a bare loop, calls.

It does what the image's own process does for a message, print and file included. As a program, in
the image: the bare loop. Pictures come on stdin, one a line; the labels go to stdout, then the
seconds that the loop took.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import time
from typing import Any

_loaded: dict[str, Any] = {}


def load(folder: str) -> Any:
    """Return the classifier's module with its model in memory; loaded once in a process."""
    if not _loaded:
        sys.path.insert(0, folder)
        import classify_image

        classify_image.load_model()
        os.chdir(tempfile.mkdtemp())  # where it leaves what it saw
        _loaded["module"] = classify_image
    return _loaded["module"]


def classify(folder: str, path: str) -> str:
    """Return the most likely digit of a picture.

    Raises:
        ValueError: the classifier has another exit code than 0.
    """
    module, printed = load(folder), io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = module.show_digits(path)
    if code:
        raise ValueError(f"{path}: exit code {code}")
    return printed.getvalue().split()[0]


def main() -> None:
    """Classify what stdin names."""
    folder = sys.argv[1]
    paths = sys.stdin.read().split()
    labels = [classify(folder, paths[0])]  # loads
    begun = time.monotonic()
    labels += [classify(folder, path) for path in paths[1:]]
    seconds = time.monotonic() - begun
    print("\n".join([*labels, str(seconds)]))


if __name__ == "__main__":
    main()
