"""dask-jobqueue's SLURMCluster: two worker processes of one thread in a job on each node."""

from __future__ import annotations

import subprocess
import time

from common import MESSAGE, NODES, SLOTS, answer, measure_warm, scratch, texts
from dask.distributed import Client
from dask_jobqueue import SLURMCluster

EACH = SLOTS // NODES


def one(text: str) -> int:
    """Return how the container for a message ended."""
    return subprocess.run([MESSAGE, text], check=False).returncode


def main() -> None:
    """Measure."""
    folder = scratch("dask")
    begun = time.monotonic()
    with (
        SLURMCluster(
            cores=EACH,
            processes=EACH,
            memory="2GB",
            walltime="00:10:00",
            local_directory=str(folder),
            log_directory=str(folder),
            shared_temp_directory=str(folder),
            scheduler_options={"dashboard_address": ":0"},
        ) as cluster,
        Client(cluster) as client,
    ):
        cluster.scale(jobs=NODES)
        client.wait_for_workers(SLOTS)

        def run(count: int) -> None:
            codes = client.gather(client.map(one, texts(count), pure=False))
            if any(codes):
                raise SystemExit(f"dask: expected {count} times 0, found {codes}")

        rate = measure_warm(run, begun)
    answer(rate)


if __name__ == "__main__":
    main()
