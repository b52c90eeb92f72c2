"""Asking Slurm: one port, several ways (commands, slurmrestd, pyslurm, a fake).

Submission and cancelling are done through the owner's session; questions about all jobs at once
through one session of the bridge's own.
"""

from bridge.slurm.commands import SlurmCommands
from bridge.slurm.make import make_slurm
from bridge.slurm.port import JobRow, SlurmPort

__all__ = ["JobRow", "SlurmCommands", "SlurmPort", "make_slurm"]
