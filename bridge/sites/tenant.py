"""A tenant: who its users are, what they may use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from bridge.sites.cluster import BatchPolicy
from bridge.sites.identity import Claims, TableAccount
from bridge.sites.images import ImagePolicy
from bridge.sites.kinds import HttpsUrl, PublicFile, SecretFile, SlurmWord
from bridge.sites.limits import TenantLimits
from bridge.sites.mistakes import Loc, Mistake, check, not_among
from bridge.sites.mounts import Mount, is_reserved, lies_below
from bridge.sites.table import Table

if TYPE_CHECKING:
    from bridge.sites.model import Site


class Tenant(Table):
    """One Abaco tenant: who its users are and what they may use."""

    from_cluster: ClassVar[tuple[str, ...]] = ("partition", "account", "qos", "batch")
    """Keys of which the cluster's value counts where the tenant has none."""

    cluster: str = Field(description="Name of the cluster that runs this tenant's actors.")
    other_clusters: tuple[str, ...] = Field(
        (), description="Clusters that an actor's `batch.cluster` may name besides."
    )
    public_keys: tuple[PublicFile, ...] = Field(
        (), description="PEM files whose keys may sign this tenant's tokens."
    )
    jwks_file: PublicFile | None = Field(
        None, description="JSON Web Key Set with such keys; read again when it changes."
    )
    jwks_url: HttpsUrl | None = Field(
        None, description="URL of such a set, https unless it is on this host; fetched again when "
        "a token names a key that is not in it."
    )  # fmt: skip
    jwks_lifetime_s: int = Field(
        3600, gt=0, description="How long a fetched set counts, seconds; while it cannot be "
        "fetched again the old one does."
    )  # fmt: skip
    algorithms: tuple[Literal["RS256", "ES256"], ...] = Field(
        ("RS256", "ES256"), min_length=1, description="Signatures that count."
    )
    issuer: str | None = Field(None, description="What `iss` must be; none: not looked at.")
    audience: str | None = Field(None, description="What `aud` must hold; none: not looked at.")
    clock_skew_s: int = Field(
        0, ge=0, le=600, description="By how much `exp` and `nbf` may be off, seconds."
    )
    claims: Claims = Claims()
    accounts: Literal["getent", "table", "claims"] = Field(
        "getent", description="Where a user's account comes from: the cluster's own user database "
        "(the account has the user's name, so the tenant's issuer must mean the same person by "
        "it), `account_table`, or the claims of the token. Whatever it is, the account that the "
        "cluster has counts, and must agree."
    )  # fmt: skip
    account_table: dict[str, TableAccount] = Field(
        {}, description='Accounts by username (`accounts = "table"`).'
    )
    private_key: SecretFile | None = Field(
        None, description="PEM file that `bridge token create` signs with; only for sites without "
        "an issuer of their own."
    )  # fmt: skip
    user_role: str = Field("Internal/everyone", description="Role that plain use needs.")
    admin_role: str = Field("Internal/abaco-admin", description="Role with every right.")
    privileged_role: str = Field(
        "Internal/abaco-privileged", description="Role that may set restricted actor fields."
    )
    partition: SlurmWord | None = Field(None, description="Overrides the cluster's partition.")
    account: SlurmWord | None = Field(None, description="Overrides the cluster's Slurm account.")
    qos: SlurmWord | None = Field(None, description="Overrides the cluster's QOS.")
    mounts: tuple[Mount, ...] = Field((), description="Directories that containers see.")
    run_as_executor: bool = Field(
        False, description="Whether actors may run as the user who sent the message."
    )
    default_token: bool = Field(False, description="Abaco's `token` field where none is given.")
    webhook_key_file: SecretFile | None = Field(
        None,
        description="File with the secret that this tenant's webhook requests are signed with, at "
        "least 16 bytes; none: they carry no signature.",
    )
    batch: BatchPolicy | None = Field(
        None, description="What this tenant's actors may ask of the cluster; none: as the "
        "cluster's table says."
    )  # fmt: skip
    images: ImagePolicy = ImagePolicy()
    limits: TenantLimits = TenantLimits()

    @check("cluster", "other_clusters")
    def _check_clusters(self, site: Site) -> Iterator[Mistake]:
        places: list[tuple[Loc, str]] = [(("cluster",), self.cluster)]
        places += [(("other_clusters", n), one) for n, one in enumerate(self.other_clusters)]
        for place, name in places:
            if site.clusters and name not in site.clusters:
                yield Mistake(place, not_among(name, site.clusters, "one of the clusters"))
            elif [one for _, one in places].index(name) != places.index((place, name)):
                yield Mistake(place, f'"{name}" is named twice', is_warning=True)

    @check("public_keys", "jwks_file", "jwks_url")
    def _check_keys(self, _site: Site) -> Iterator[Mistake]:
        if not self.public_keys and self.jwks_file is None and self.jwks_url is None:
            text = "no key that its tokens may have, expected public_keys, jwks_file or jwks_url"
            yield Mistake((), text)

    @check("jwks_url", "jwks_lifetime_s")
    def _check_lifetime(self, _site: Site) -> Iterator[Mistake]:
        default = type(self).model_fields["jwks_lifetime_s"].default
        if self.jwks_url is None and self.jwks_lifetime_s != default:
            text = "has no effect, as there is no jwks_url"
            yield Mistake(("jwks_lifetime_s",), text, is_warning=True)

    @check("accounts", "account_table", "claims")
    def _check_accounts(self, _site: Site) -> Iterator[Mistake]:
        if self.accounts == "table" and not self.account_table:
            yield Mistake(("account_table",), 'missing, expected a table, as accounts is "table"')
        if self.accounts != "table" and self.account_table:
            text = f'has no effect, as accounts is "{self.accounts}"'
            yield Mistake(("account_table",), text, is_warning=True)
        named = [key for key in ("login", "uid", "gid", "groups") if getattr(self.claims, key, "")]
        if self.accounts == "claims" and getattr(self.claims, "login", "") is None:
            text = 'missing, expected the name of a claim, as accounts is "claims"'
            yield Mistake(("claims", "login"), text)
        for key in named if self.accounts != "claims" else ():
            text = f'has no effect, as accounts is "{self.accounts}"'
            yield Mistake(("claims", key), text, is_warning=True)

    @check("account_table", "cluster")
    def _check_table(self, site: Site) -> Iterator[Mistake]:
        """Nothing runs under these accounts, whatever the table says."""
        cluster = site.clusters.get(self.cluster)
        min_uid = getattr(cluster, "min_uid", 1)
        forbidden = {"root", *getattr(cluster, "forbidden_users", ())}
        for user, account in self.account_table.items():
            uid, login = getattr(account, "uid", None), getattr(account, "login", "")
            if uid is not None and uid < min_uid:
                text = f"found {uid}, expected at least {min_uid}, clusters.{self.cluster}.min_uid"
                yield Mistake(("account_table", user, "uid"), text)
            if login in forbidden:
                text = f'found "{login}", expected an account under which something may run'
                yield Mistake(("account_table", user, "login"), text)

    @check("user_role", "admin_role", "privileged_role")
    def _check_roles(self, _site: Site) -> Iterator[Mistake]:
        for key in ("admin_role", "privileged_role"):
            if getattr(self, key) == self.user_role:
                text = f'found "{self.user_role}", expected another role than user_role'
                yield Mistake((key,), text)

    @check("mounts")
    def _check_mounts(self, _site: Site) -> Iterator[Mistake]:
        paths = [str(getattr(mount, "container_path", "")) for mount in self.mounts]
        for number, path in enumerate(paths):
            place = ("mounts", number, "container_path")
            hidden = [n for n in range(number) if lies_below(paths[n], path)]
            if is_reserved(path):
                text = f'found "{path}", expected a directory that the container does not have'
                yield Mistake(place, text)
            elif hidden:
                text = f'found "{path}", which would hide mounts[{hidden[0]}] before it; expected '
                yield Mistake(place, f"{text}it above that one, or another path")
