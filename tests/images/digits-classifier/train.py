"""Train the classifier; leave model.npz and, in test/, the pictures that it has not seen."""

import csv
from pathlib import Path

import numpy as np
from png import encode_grey
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

HELD_OUT = 600
SCALE = 15  # the data set's greys go from 0 to 16


def main() -> None:
    """Train, check on the pictures held out, write both."""
    digits = load_digits()
    greys = (digits.images * SCALE).astype(np.uint8)
    seen, unseen, seen_labels, labels = train_test_split(
        greys, digits.target, test_size=HELD_OUT, stratify=digits.target, random_state=0
    )
    model = MLPClassifier((64,), max_iter=2000, random_state=0)
    model.fit(as_rows(seen), seen_labels)
    accuracy = model.score(as_rows(unseen), labels)
    print(f"{len(seen)} pictures trained on, {accuracy:.4f} of {HELD_OUT} others right")
    assert accuracy > 0.95

    weights = {f"weight{i}": weight.astype(np.float32) for i, weight in enumerate(model.coefs_)}
    biases = {f"bias{i}": bias.astype(np.float32) for i, bias in enumerate(model.intercepts_)}
    np.savez("model.npz", **weights, **biases)
    write_pictures(Path("test"), unseen, labels)


def as_rows(pictures: np.ndarray) -> np.ndarray:
    """Return pictures (n, 8, 8) of 0 to 255 as rows (n, 64) of 0 to 1."""
    return pictures.reshape(len(pictures), -1) / 255


def write_pictures(place: Path, pictures: np.ndarray, labels: np.ndarray) -> None:
    """Write a PNG for each picture, and labels.csv with path and label of each."""
    place.mkdir()
    with (place / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label"])
        for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
            name = f"{number:03d}.png"
            (place / name).write_bytes(encode_grey(8, 8, picture.tobytes()))
            table.writerow([name, label])


main()
