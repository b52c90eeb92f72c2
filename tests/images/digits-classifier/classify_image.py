"""Print the five most likely digits of a picture, best first: ``7 (score = 0.97471)``.

The picture as the model sees it is left in the working directory, so the container's root must be
writable. Exit code 2 and one line tell of a picture that cannot be read.
"""

import argparse
import functools
import sys
from pathlib import Path

import numpy as np
from png import NotAPicture, decode_grey

MODEL = Path(__file__).with_name("model.npz")
SIDE = 8  # pixels
SHOWN = 5


def main() -> int:
    """Classify the picture that the command line names; return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--image_file", required=True)
    return show_digits(parser.parse_args().image_file)


def show_digits(path: str) -> int:
    """Print the digits of the picture at `path`; return the exit code."""
    try:
        row = preprocess(*decode_grey(Path(path).read_bytes()))
    except (OSError, NotAPicture, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        print(f"classify_image: cannot read picture {path!r}: {reason}", file=sys.stderr)
        return 2
    np.save("preprocessed.npy", row)
    scores = classify(row)
    for label in np.argsort(-scores)[:SHOWN]:
        print(f"{label} (score = {scores[label]:.5f})")
    return 0


def preprocess(width: int, height: int, pixels: bytes) -> np.ndarray:
    """Return the picture as 64 greys of 0 to 1, made 8 by 8 by taking every so many pixels."""
    picture = np.frombuffer(pixels, np.uint8).reshape(height, width)
    down = (np.arange(SIDE) * height + height // 2) // SIDE
    across = (np.arange(SIDE) * width + width // 2) // SIDE
    return (picture[np.ix_(down, across)].reshape(-1) / 255).astype(np.float32)


@functools.cache
def load_model() -> dict[str, np.ndarray]:
    """Return the weights and biases of the model's two layers."""
    with np.load(MODEL) as model:
        return dict(model)


def classify(row: np.ndarray) -> np.ndarray:
    """Return the probability of each of the ten digits."""
    model = load_model()
    hidden = np.maximum(row @ model["weight0"] + model["bias0"], 0)
    odds = hidden @ model["weight1"] + model["bias1"]
    exponents = np.exp(odds - odds.max())
    return exponents / exponents.sum()


if __name__ == "__main__":
    sys.exit(main())
