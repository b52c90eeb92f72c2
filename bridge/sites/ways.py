"""How a cluster is reached: becoming the owner, and Slurm's REST daemon (design section 4)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

from bridge.sites.kinds import (
    AbsolutePath,
    ApiVersion,
    Host,
    HostFile,
    HttpUrl,
    Login,
    PublicFile,
    RootsFile,
    SecretFile,
    check_login,
    check_path_template,
)
from bridge.sites.mistakes import Mistake, check
from bridge.sites.table import Table

if TYPE_CHECKING:
    from bridge.sites.model import Site


def _of_login(value: str) -> str:
    """One account for all, or each owner's own; what the cluster knows of others is not asked."""
    if value != "{login}":
        if "{" in value:
            raise ValueError('expected "{login}" or the name of a community account')
        check_login(value)
    return value


def _path_of_login(value: str) -> str:
    return check_path_template(value, "login")


LoginTemplate = Annotated[str, AfterValidator(_of_login)]
LoginPath = Annotated[str, AfterValidator(_path_of_login), HostFile()]
LoginSecret = Annotated[str, AfterValidator(_path_of_login), HostFile(is_secret=True)]


class Sudo(Table):
    """The `sudo` way: a line of sudoers lets the service user start the agent as a user."""

    command: RootsFile = Field(Path("/usr/bin/sudo"), description="sudo on the scheduler's host.")
    program: RootsFile = Field(
        Path("/usr/local/libexec/bridge/agent.pyz"),
        description="The agent's program as the sudoers line names it; root owns it "
        "(`bridge agent install`).",
    )


class Ssh(Table):
    """The `ssh` way: the agent is started on a login node of the cluster."""

    host: Host = Field(description="The login node.")
    port: int = Field(22, gt=0, lt=65_536, description="Its sshd.")
    login: LoginTemplate = Field(
        "{login}", description="Whom to log in as: the owner, or a community account for all."
    )
    service_login: Login | None = Field(
        None, description="Whom to log in as for the bridge's own questions to Slurm; none: the "
        "name of the scheduler's own user."
    )  # fmt: skip
    key_file: LoginSecret | None = Field(
        None, description="Private key, {login} in it stands for the account; none: the agent's."
    )
    certificate_file: LoginPath | None = Field(
        None, description="OpenSSH certificate for the key, {login} as above."
    )
    agent: bool = Field(False, description="Whether keys of an SSH agent (SSH_AUTH_SOCK) count.")
    known_hosts: PublicFile = Field(description="Host keys; a host that is not in it is refused.")
    program: AbsolutePath | None = Field(
        None, description="The agent's program on the login node, where it is installed or keys "
        "are bound to that command; none: it is sent each time."
    )  # fmt: skip
    keepalive_s: int = Field(30, gt=0, description="Between signs of life, seconds.")
    connect_timeout_s: float = Field(10.0, gt=0, description="To connect and log in, seconds.")
    max_connections: int = Field(32, gt=0, description="Connections open at once at most.")

    @check("key_file", "certificate_file", "agent")
    def _check_keys(self, _site: Site) -> Iterator[Mistake]:
        if self.key_file is None and not self.agent:
            yield Mistake((), "no key, expected key_file, or agent = true")
        if self.key_file is None and self.certificate_file is not None:
            yield Mistake(
                ("certificate_file",), "without key_file, expected the key that it is for"
            )


class Slurmrestd(Table):
    """Slurm's REST daemon, with a JWT signed for each user."""

    url: HttpUrl = Field(description="Base URL, as in http://head:6820.")
    version: ApiVersion = Field("v0.0.42", description="Version of its OpenAPI plugins.")
    jwt_key_file: SecretFile = Field(
        description="Slurm's jwt_hs256.key. Whoever reads it is everybody on the cluster: mode "
        "0600, read by the spawner alone where the scheduler starts as root."
    )
    token_lifetime_s: int = Field(300, gt=9, description="Lifetime of a signed token, seconds.")
    observer: Login = Field(
        "bridge", description="Slurm user in whose name the states of all jobs are asked for."
    )
