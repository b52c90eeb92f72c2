"""Which way of becoming a user each cluster of a site has, and what has to be started for them."""

from __future__ import annotations

import os
import pwd
import threading
from dataclasses import dataclass, field

from bridge.core.accounts import AccountPolicy
from bridge.errors import SettingsError
from bridge.sessions.greeting import (
    Check,
    Greeting,
    Known,
    check_host,
    check_own,
    check_program,
    check_remote,
    nobody_known,
)
from bridge.sessions.openers import Opener, local_opener, sudo_opener
from bridge.sessions.patience import Patience
from bridge.sessions.pool import SessionPool
from bridge.sessions.program import AgentProgram
from bridge.sessions.setuid import SpawnerClient
from bridge.sessions.spawner import ClusterAgents, drop, start_and_drop
from bridge.sessions.ssh import SshConnections
from bridge.sites import Cluster, Site


@dataclass(frozen=True)
class Ways:
    """What a scheduler process has at hand to act as users.

    Attributes:
        program: the agent's program on this host.
        spawner: who is asked for agents of other users, where a cluster is reached so.
    """

    program: AgentProgram
    spawner: SpawnerClient | None = None
    _connections: dict[str, SshConnections] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def owners(
        self,
        name: str,
        cluster: Cluster,
        patience: Patience | None = None,
        known: Known = nobody_known,
    ) -> SessionPool:
        """Return sessions as users of the cluster `name`, by the login that each has there.

        Args:
            name: the cluster's name in the site file.
            cluster: its table.
            patience: who has used up theirs is left alone for a while.
            known: what the cluster said of an account, which another host's agent must be.
        """
        opener: Opener
        if cluster.session == "setuid":
            if self.spawner is None:
                raise SettingsError(f"clusters.{name}.session is setuid, but no spawner runs.")
            opener, check = self.spawner.opener(name), check_host(cluster.account_policy)
        elif cluster.session == "sudo":
            opener = sudo_opener(cluster.sudo, cluster.node_python, cluster.account_policy)
            check = check_host(cluster.account_policy)
        elif cluster.session == "ssh":
            opener = self._ssh(name, cluster).opener(cluster.account_of)
            check = check_remote(cluster.account_of, cluster.account_policy, known)
        else:
            opener, check = local_opener(self.program.argv(cluster.node_python)), check_own
        return SessionPool(opener, self._checked(cluster, check), patience)

    def own(self, name: str, cluster: Cluster) -> SessionPool:
        """Return the bridge's own sessions on the cluster `name`, whatever login is asked for."""
        if cluster.ssh is not None and cluster.session == "ssh":
            login = cluster.ssh.service_login or pwd.getpwuid(os.geteuid()).pw_name
            opener = self._ssh(name, cluster).opener(lambda _: login)
            return SessionPool(opener, self._checked(cluster, _check_service(login)))
        opener = local_opener(self.program.argv(cluster.node_python))
        return SessionPool(opener, self._checked(cluster, check_own))

    def close(self) -> None:
        """Close the connections that are kept."""
        for connections in self._connections.values():
            connections.close()

    def _ssh(self, name: str, cluster: Cluster) -> SshConnections:
        if cluster.ssh is None:
            raise SettingsError(f'clusters.{name}.session is "ssh" and needs a table "ssh".')
        with self._lock:
            if name not in self._connections:
                self._connections[name] = SshConnections(
                    cluster.ssh, cluster.node_python, self.program
                )
            return self._connections[name]

    def _checked(self, cluster: Cluster, check: Check) -> Check:
        remedy = "Restart the scheduler."
        if cluster.session == "sudo":
            remedy = f"Run `bridge agent install {cluster.sudo.program}` as root."
        elif cluster.ssh is not None and cluster.ssh.program is not None:
            remedy = f"Run `bridge agent install {cluster.ssh.program}` on {cluster.ssh.host}."

        def check_all(login: str, greeting: Greeting) -> None:
            check_program(greeting, self.program.digest, remedy)
            check(login, greeting)

        return check_all


def _check_service(login: str) -> Check:
    """Return the check of the service's own account, which may well be a system user's."""
    check = check_remote(lambda _: login, AccountPolicy(min_uid=1))
    return lambda _login, greeting: check(login, greeting)


def start_ways(site: Site, program: AgentProgram, service_user: str) -> Ways:
    """Start the spawner where a cluster needs it; this process is then no longer root.

    Raises:
        SettingsError: a cluster needs what this process may not do.
    """
    sessions = {cluster.session for cluster in site.clusters.values()}
    if {"setuid", "sudo"} <= sessions:
        raise SettingsError(
            "Sudo has no effect in a process that has given up root for good: let no cluster's "
            'session be "sudo" where another\'s is "setuid".'
        )
    try:
        if "setuid" in sessions:
            return Ways(program, _start_spawner(site, program, service_user))
        if os.geteuid() == 0:  # nothing needs it
            program.give(service_user)
            drop(service_user, may_use_sudo="sudo" in sessions)
    except (LookupError, PermissionError) as error:
        raise SettingsError(
            f"`bridge scheduler` cannot work for this site: {error}. A cluster whose session is "
            '"setuid" needs it started as root; started as root, it goes on as --service-user.'
        ) from error
    return Ways(program)


def _start_spawner(site: Site, program: AgentProgram, service_user: str) -> SpawnerClient:
    agents = {
        name: ClusterAgents(cluster.account_policy, program.argv(cluster.node_python))
        for name, cluster in site.clusters.items()
        if cluster.session == "setuid"
    }
    return SpawnerClient(start_and_drop(service_user, agents, program.remove))
