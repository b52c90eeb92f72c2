"""One node's share of the messages by HyperQueue's LocalCluster: a server, and a worker.

Arguments: how many CPUs, the program that is a message, the file of messages, and the file for the
times of beginning and end.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig


def main() -> None:
    """Run the share; a message that fails raises."""
    cores, message, messages, times = sys.argv[1:]
    job = Job(max_fails=0)
    for text in Path(messages).read_text().splitlines():
        job.program([message, text], stdout=None, stderr=None)
    with LocalCluster(worker_config=WorkerConfig(cores=int(cores))) as cluster:
        client = cluster.client()
        begun = time.time()
        client.wait_for_jobs([client.submit(job)])
        Path(times).write_text(f"{begun} {time.time()}\n")


if __name__ == "__main__":
    main()
