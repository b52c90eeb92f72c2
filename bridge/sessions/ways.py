"""Which way of becoming a user each cluster of a site has, and what has to be started for them."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from bridge.errors import SettingsError
from bridge.sessions.pool import AgentProgram, Opener, local_opener, setuid_opener
from bridge.sessions.spawner import start_and_drop
from bridge.sites import Cluster, Site


@dataclass(frozen=True)
class Ways:
    """What a scheduler process has at hand to act as users.

    Attributes:
        program: the agent's program on this host.
        python: what runs it here.
        spawner: where the spawner is asked, if there is one.
    """

    program: AgentProgram
    python: str
    spawner: socket.socket | None

    def owners(self, cluster: Cluster) -> Opener:
        """Return the way of becoming a user of `cluster`."""
        if cluster.session == "setuid" and self.spawner is not None:
            return setuid_opener(self.spawner)
        return self.own(cluster)

    def own(self, cluster: Cluster) -> Opener:
        """Return the way to the bridge's own session on `cluster`, whatever name is asked for."""
        return local_opener(self.program.argv(self.python))


def start_ways(site: Site, program: AgentProgram, service_user: str) -> Ways:
    """Start the spawner where a cluster needs it; this process is then the service user's.

    Raises:
        SettingsError: a cluster needs what this process may not do.
    """
    python = next(iter(site.clusters.values())).node_python
    if all(cluster.session != "setuid" for cluster in site.clusters.values()):
        return Ways(program, python, None)
    min_uid = min(cluster.min_uid for cluster in site.clusters.values())
    try:
        spawner = start_and_drop(service_user, min_uid, program.argv(python), program.remove)
    except (LookupError, PermissionError) as error:
        raise SettingsError(
            f"The site asks for the setuid way, but {error}. Start `bridge scheduler` as root, "
            'or set session = "local" in the site file.'
        ) from error
    return Ways(program, python, spawner)
