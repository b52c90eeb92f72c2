"""Which way of asking Slurm each cluster has."""

from __future__ import annotations

from collections.abc import Callable

from bridge.sessions import UserSession
from bridge.sites import Cluster
from bridge.slurm.commands import SlurmCommands
from bridge.slurm.port import SlurmPort


def make_slurm(cluster: Cluster, observer: Callable[[], UserSession]) -> SlurmPort:
    """Return the port to the Slurm of `cluster`; `observer` opens the bridge's own session."""
    return SlurmCommands(observer)
