"""Which account of a cluster a tenant's user is to have, before the cluster is asked about it.

By the user's name, by the tenant's table, or by what the user's token says, where the tenant is
believed that (`accounts` of the tenant). Whatever it is, the scheduler asks the cluster, and the
cluster's answer must agree (bridge.scheduler.users).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.errors import UserUnknown
from bridge.sites import Cluster, Site


@dataclass(frozen=True)
class Person:
    """A user of a tenant, as one cluster may know them: the key of `ClusterUser`."""

    cluster: str
    tenant: str
    username: str

    @property
    def key(self) -> tuple[str, str, str]:
        """The primary key of the row."""
        return self.cluster, self.tenant, self.username


@dataclass(frozen=True)
class Wanted:
    """The account that a person is to have.

    Attributes:
        login: its name; None: the scheduler's own, which only the scheduler knows.
        uid: what it must be, None where nothing was said; `gid` the same.
        gid: see `uid`.
        groups: gids of which it must be a member, besides `gid`.
    """

    login: str | None
    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] = ()


def wanted_account(site: Site, person: Person, claimed: Mapping[str, Any] | None) -> Wanted:
    """Return the account that `person` is to have, as the site file has it at this moment.

    Args:
        site: names the tenant's source of accounts.
        person: whose account.
        claimed: what their token said of it: `login`, `uid`, `gid`, `groups`, each or none.

    Raises:
        UserUnknown: the source does not know the user.
    """
    cluster, tenant = site.clusters.get(person.cluster), site.tenants.get(person.tenant)
    if cluster is None or tenant is None:  # an actor may be older than the site file
        raise UserUnknown(
            f"User {person.username} of tenant {person.tenant} has no account on cluster "
            f"{person.cluster}: the site has no such tenant or cluster at the moment."
        )
    shared = _shared_login(cluster)
    if shared is not None:
        return shared
    if tenant.accounts == "table":
        entry = tenant.account_table.get(person.username)
        if entry is None:
            raise UserUnknown(
                f"User {person.username} has no account on cluster {person.cluster}: the site has "
                f"none for that name in tenant {person.tenant}. Ask the site's administrators."
            )
        return Wanted(entry.login, entry.uid, entry.gid, entry.groups or ())
    if tenant.accounts == "claims":
        if claimed is None:
            raise UserUnknown(
                f"User {person.username} has no account on cluster {person.cluster}: no token of "
                f"theirs has said which one it is. Ask with a token of tenant {person.tenant} that "
                "names it."
            )
        login = claimed.get("login") or person.username
        groups = tuple(claimed.get("groups") or ())
        return Wanted(login, claimed.get("uid"), claimed.get("gid"), groups)
    return Wanted(person.username)


def _shared_login(cluster: Cluster) -> Wanted | None:
    """Return the one account under which everybody runs on this cluster, if that is so."""
    if cluster.session == "local":
        return Wanted(None)
    if cluster.session == "ssh" and cluster.ssh is not None and "{login}" not in cluster.ssh.login:
        return Wanted(cluster.ssh.login)
    return None
