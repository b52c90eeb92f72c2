"""Which way of asking Slurm each cluster has."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bridge.errors import SettingsError
from bridge.sessions import UserSession
from bridge.sites import Cluster
from bridge.slurm.commands import SlurmCommands
from bridge.slurm.port import SlurmPort
from bridge.slurm.pyslurm_port import SlurmPyslurm
from bridge.slurm.rest import SlurmRest
from bridge.slurm.tokens import Sign, slurm_user


def make_slurm(
    cluster: Cluster, observer: Callable[[], UserSession], sign: Sign | None = None
) -> SlurmPort:
    """Return the port to the Slurm of `cluster`.

    Args:
        cluster: the cluster's table of the site file.
        observer: opens the bridge's own session.
        sign: signs tokens for slurmrestd (`bridge.slurm.tokens.start_signers`).

    Raises:
        SettingsError: the way that is asked for lacks something.
    """
    if cluster.slurm == "commands":
        return SlurmCommands(observer)
    if cluster.slurm == "pyslurm":
        return SlurmPyslurm(observer, cluster.pyslurm_python)
    if cluster.slurmrestd is None or sign is None:
        raise SettingsError('slurm = "slurmrestd" needs the table slurmrestd beside it.')
    return SlurmRest(cluster.slurmrestd, sign, partial(slurm_user, cluster))
