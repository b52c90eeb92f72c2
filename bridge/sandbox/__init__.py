"""A real cluster in containers on one machine: Slurm, Apptainer, accounting, users, a registry.

    from bridge.sandbox import Sandbox

    sandbox = Sandbox("test")
    sandbox.up(nodes=2, port=0)
    sandbox.run("login", ["sbatch", "--wrap", "hostname"], user="alice")
    sandbox.down()

The nodes are `head` (slurmctld, slurmdbd, slurmrestd), `login` (where the bridge runs), `c1` to
`cN` (slurmd and Apptainer, nothing of ours installed) and `registry`. Users alice (2001) and bob
(2002) belong to the Slurm account physics, carol (2003) to biology; `bridge` (990) is the service
user. /scratch, /work and /corral are shared.
"""

from bridge.sandbox.cluster import Sandbox
from bridge.sandbox.host import check_host
from bridge.sandbox.status import Status

__all__ = ["Sandbox", "Status", "check_host"]
