"""The digits classifier as a function that stays: what a warm worker, or a bare loop, calls.

As a program, in the image: the bare loop. Pictures come on stdin, one a line; the labels go to
stdout, then the seconds that the loop took.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

_state: dict[str, Any] = {}


def load(folder: str) -> None:
    """Bring the classifier's own code and its model into this process."""
    sys.path.insert(0, folder)
    import classify_image
    import numpy
    import png

    with numpy.load(Path(folder) / "model.npz") as model:
        _state["model"] = dict(model)
    _state["image"], _state["numpy"], _state["png"] = classify_image, numpy, png


def classify(folder: str, path: str) -> str:
    """Return the most likely digit of a picture."""
    if not _state:
        load(folder)
    numpy, model = _state["numpy"], _state["model"]
    pixels = _state["png"].decode_grey(Path(path).read_bytes())
    row = _state["image"].preprocess(*pixels)
    hidden = numpy.maximum(row @ model["weight0"] + model["bias0"], 0)
    odds = hidden @ model["weight1"] + model["bias1"]
    return str(numpy.argmax(odds))


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
