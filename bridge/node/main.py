"""The command line of the zipapp: ``python3 -I node.pyz`` and what it is to be.

A worker, an agent, or a rank, which is what a worker starts through srun (bridge.node.start_mpi).
"""

import os
import sys

USE = "use: node.pyz worker SPOOL | node.pyz agent | node.pyz rank MARKER COMMAND...\n"


def main() -> int:
    """Run what the arguments say; return the exit status."""
    os.umask(0o077)
    words = sys.argv[1:]
    if len(words) == 2 and words[0] == "worker":
        from bridge.node.task import run_task  # noqa: PLC0415  # each way loads only its own

        return run_task(words[1], os.environ)
    if words == ["agent"]:
        from bridge.node.agent import serve, settle  # noqa: PLC0415

        settle()
        serve(0, 1)
        return 0
    if len(words) > 2 and words[0] == "rank":
        from bridge.node.start_mpi import run_rank  # noqa: PLC0415

        return run_rank(words[1], words[2:], os.environ)
    sys.stderr.write(USE)
    return 64
