"""How a cluster is reached: becoming the owner, and Slurm's REST daemon (design section 4)."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from bridge.sites.table import Table


class Sudo(Table):
    """The `sudo` way: a line of sudoers lets the service user start the agent as a user."""

    command: Path = Field(Path("/usr/bin/sudo"), description="sudo on the scheduler's host.")
    program: Path = Field(
        Path("/usr/local/libexec/bridge/agent.pyz"),
        description="The agent's program as the sudoers line names it; root owns it "
        "(`bridge agent install`).",
    )


class Ssh(Table):
    """The `ssh` way: the agent is started on a login node of the cluster."""

    host: str = Field(description="The login node.")
    port: int = Field(22, gt=0, lt=65_536, description="Its sshd.")
    login: str = Field(
        "{login}", description="Whom to log in as: the owner, or a community account for all."
    )
    service_login: str | None = Field(
        None, description="Whom to log in as for the bridge's own questions to Slurm; none: the "
        "name of the scheduler's own user."
    )  # fmt: skip
    key_file: str | None = Field(
        None, description="Private key, {login} in it stands for the account; none: the agent's."
    )
    certificate_file: str | None = Field(
        None, description="OpenSSH certificate for the key, {login} as above."
    )
    agent: bool = Field(False, description="Whether keys of an SSH agent (SSH_AUTH_SOCK) count.")
    known_hosts: Path = Field(description="Host keys; a host that is not in it is refused.")
    keepalive_s: int = Field(30, gt=0, description="Between signs of life, seconds.")
    connect_timeout_s: float = Field(10.0, gt=0, description="To connect and log in, seconds.")
    max_connections: int = Field(32, gt=0, description="Connections open at once at most.")


class Slurmrestd(Table):
    """Slurm's REST daemon, with a JWT signed for each user."""

    url: str = Field(description="Base URL, as in http://head:6820.")
    version: str = Field(
        "v0.0.42", pattern=r"^v0\.0\.[0-9]{2}$", description="Version of its OpenAPI plugins."
    )
    jwt_key_file: Path = Field(
        description="Slurm's jwt_hs256.key. Whoever reads it is everybody on the cluster: mode "
        "0600, read by the spawner alone where the scheduler starts as root."
    )
    token_lifetime_s: int = Field(300, gt=9, description="Lifetime of a signed token, seconds.")
    observer: str = Field(
        "bridge", description="Slurm user in whose name the states of all jobs are asked for."
    )
