"""Parsl's HighThroughputExecutor under Slurm: a block of two warm workers on each node.

``mode`` is "command", an app whose command starts the container, or "function", the classifier
itself in the warm workers, without a container.
"""

from __future__ import annotations

import socket
import time
from pathlib import Path

import parsl
from common import MESSAGE, NODES, REQUEST, SLOTS, answer, measure_warm, scratch, texts
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import SlurmProvider

IS_FUNCTION = REQUEST["mode"] == "function"


@parsl.bash_app
def run_message(message: str, text: str) -> str:
    """Return the command that is one message."""
    return f"{message} {text}"


@parsl.python_app
def run_classifier(folder: str, picture: str) -> str:
    """Return the label of one picture."""
    from classify import classify

    return classify(folder, picture)


def configure(folder: Path) -> Config:
    """Return the configuration: a block for each node, a worker for each of its slots."""
    path = f"{REQUEST['peers']}/venv/bin:$PATH"
    provider = SlurmProvider(
        cores_per_node=SLOTS // NODES,
        init_blocks=NODES,
        min_blocks=NODES,
        max_blocks=NODES,
        exclusive=False,
        worker_init=f"export PATH={path} PYTHONPATH={Path(__file__).parent}",
    )
    executor = HighThroughputExecutor(
        address=socket.gethostbyname(socket.gethostname()),
        max_workers_per_node=SLOTS // NODES,
        prefetch_capacity=100 if IS_FUNCTION else 0,  # short ones gain by it
        provider=provider,
    )
    return Config(run_dir=str(folder), executors=[executor])


def run(count: int) -> None:
    """Run that many messages.

    Raises:
        SystemExit: a label differs from the classifier's own; a command that fails raises too.
    """
    messages = texts(count)
    if not IS_FUNCTION:
        for future in [run_message(MESSAGE, text) for text in messages]:
            future.result()
        return
    labels = REQUEST["labels"]
    pictures = [text.replace("/work/", REQUEST["work"], 1) for text in messages]
    futures = [run_classifier(REQUEST["digits"], picture) for picture in pictures]
    found = [future.result() for future in futures]
    if found != [labels[text] for text in messages]:
        raise SystemExit("Parsl: expected the classifier's own labels, found others")


def main() -> None:
    """Measure."""
    begun = time.monotonic()
    with parsl.load(configure(scratch("parsl"))):
        rate = measure_warm(run, begun)
    answer(rate)


if __name__ == "__main__":
    main()
