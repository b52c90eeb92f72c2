"""The bridge itself, running on the sandbox's login node as at a site.

`bridge api` as the service user; `bridge scheduler` started as root where it has to become users by
itself (it keeps a spawner and goes on as the service user), as the service user where sudo or sshd
do that; SQLite under /var/lib/bridge.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import requests
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from bridge.errors import SandboxError
from bridge.sandbox.cluster import Sandbox

SITE_FILE = "/etc/bridge/site.toml"
KEYS = "/etc/bridge/keys"
SLURM_KEY = "/etc/slurm/jwt_hs256.key"  # on the head
# The newest version of its answers that each release's slurmrestd has.
_REST_VERSIONS = {"24.11": "v0.0.42", "26.05": "v0.0.45"}
TENANTS = {"alice": "PHYSICS", "bob": "PHYSICS", "carol": "BIOLOGY"}
_SERVICES: Mapping[str, list[str]] = {
    "api": ["bridge", "api", "--bind", "0.0.0.0:8080", "--workers", "1"],
    "scheduler": ["bridge", "scheduler"],
}
# What the site file has in place of the session "setuid".
_SETUID = 'session = "setuid"'
_SESSIONS = {
    "setuid": _SETUID,
    "sudo": 'session = "sudo"',
    "ssh": "\n".join(
        (
            'ssh.host = "login"',
            f'ssh.key_file = "{KEYS}/ssh"',
            f'ssh.known_hosts = "{KEYS}/known_hosts"',
            'session = "ssh"',
        )
    ),
}


def read_sandbox_site() -> str:
    """Return the text of the sandbox's site file, shipped as an example."""
    package = Path(__file__).parents[1]
    for folder in (package / "sites" / "_examples", package.parent / "site_configs"):
        if (folder / "sandbox.toml").is_file():
            return (folder / "sandbox.toml").read_text(encoding="utf-8")
    raise SandboxError("The example site file sandbox.toml is missing from the installation.")


class BridgeService:
    """The bridge's two processes in `sandbox`."""

    def __init__(
        self,
        sandbox: Sandbox,
        database: str | None = None,
        slurm: str = "commands",
        session: str = "setuid",
    ) -> None:
        self.sandbox = sandbox
        self.slurm = slurm
        self.session = session
        self.environment = {
            "BRIDGE_SITE": SITE_FILE,
            "BRIDGE_DATABASE": database or "sqlite:////var/lib/bridge/bridge.db",
        }

    def ensure(self, changes: Mapping[str, str] | None = None) -> None:
        """Configure the site and start what does not run; what runs by another site file, anew.

        Args:
            changes: replacements in the site file's text, for tests.
        """
        before = self.sandbox.run("login", ["cat", SITE_FILE], check=False).stdout
        self.configure(changes or {})
        has_changed = self.sandbox.run("login", ["cat", SITE_FILE]).stdout != before
        for name in _SERVICES:
            if has_changed:
                self.stop(name)
            if not self.is_running(name):
                self.start(name)
        self.wait_ready()

    def configure(self, changes: Mapping[str, str]) -> None:
        """Write keys, site file and database schema."""
        self.sandbox.run("login", ["install", "-d", "-m", "0755", KEYS])
        site = read_sandbox_site().replace("http://127.0.0.1:8080", self.sandbox.url)
        for old, new in {**self._session_changes(), **self._slurm_changes(), **changes}.items():
            if old not in site:
                raise SandboxError(f"The sandbox's site file has no {old!r} to replace.")
            site = site.replace(old, new)
        for tenant in sorted({name.lower() for name in TENANTS.values()}):
            self._ensure_key(tenant)
        self._ensure_secrets_key()
        self.sandbox.put("login", SITE_FILE, site.encode(), owner="bridge", mode=0o640)
        self.sandbox.run("login", ["bridge", "db", "upgrade"], user="bridge", env=self.environment)

    @property
    def _scheduler_user(self) -> str:
        """Who starts the scheduler: root alone can become users by itself."""
        return "root" if self.session == "setuid" else "bridge"

    def _session_changes(self) -> dict[str, str]:
        """Return what has owners become in another way than the site file's; prepare it."""
        if self.session == "sudo":
            prepare_sudo(self.sandbox)
        return {_SETUID: _SESSIONS[self.session]}

    def _slurm_changes(self) -> dict[str, str]:
        """Return what has Slurm asked in another way than the site file's; bring what it needs."""
        if self.slurm != "slurmrestd":
            return {}
        key = self.sandbox.get("head", SLURM_KEY)
        path = f"{KEYS}/{Path(SLURM_KEY).name}"
        self.sandbox.put("login", path, key, owner=self._scheduler_user, mode=0o600)
        version = rest_version(self.sandbox)
        return {
            "[clusters.sandbox]\n": f"""[clusters.sandbox]
slurm = "slurmrestd"
slurmrestd.url = "http://head:6820"
slurmrestd.version = "{version}"
slurmrestd.jwt_key_file = "{path}"
"""
        }

    def _ensure_key(self, tenant: str) -> None:
        """Make a tenant's keys, unless they are there; the service signs containers' tokens."""
        private = f"{KEYS}/{tenant}.pem"
        if self.sandbox.run("login", ["test", "-e", private], check=False).returncode == 0:
            return
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.sandbox.put("login", f"{KEYS}/{tenant}.pub", public, mode=0o644)
        self.sandbox.put("login", private, secret, owner="bridge", mode=0o600)

    def _ensure_secrets_key(self) -> None:
        """Make the key of secret configs, unless there is one: what it encrypted stays readable."""
        path = f"{KEYS}/secrets.key"
        if self.sandbox.run("login", ["test", "-e", path], check=False).returncode:
            self.sandbox.put("login", path, Fernet.generate_key(), owner="bridge", mode=0o600)

    def start(self, name: str, extra: Mapping[str, str] | None = None) -> None:
        """Start one of the two: ``api`` or ``scheduler``."""
        user = self._scheduler_user if name == "scheduler" else "bridge"
        log = f"/var/log/bridge/{name}.log"
        env = {**self.environment, **(extra or {})}
        self.sandbox.run("login", ["touch", log])
        self.sandbox.run("login", ["chown", "bridge:", log])
        number = self.sandbox.start("login", _SERVICES[name], user=user, env=env, log_path=log)
        self.sandbox.put("login", _pid_file(name), str(number).encode(), mode=0o644)

    def pid(self, name: str) -> int | None:
        """Return the process number on the login node, or None when it does not run."""
        script = (
            'pid=$(cat "$1" 2>/dev/null) && tr "\\0" " " < "/proc/$pid/cmdline" '
            '| grep -q "bridge $2" && echo "$pid"'
        )
        done = self.sandbox.run(
            "login", ["sh", "-c", script, "-", _pid_file(name), name], check=False
        )
        return int(done.stdout) if done.stdout.strip() else None

    def is_running(self, name: str) -> bool:
        """Whether this one runs."""
        return self.pid(name) is not None

    def stop(self, name: str, signal: str = "TERM") -> None:
        """Send `signal` to one of the two and wait until it is gone."""
        number = self.pid(name)
        if number is None:
            return
        self.sandbox.run("login", ["kill", f"-{signal}", str(number)])
        for _ in range(300):
            if self.pid(name) is None:
                return
            time.sleep(0.1)
        raise SandboxError(f"bridge {name} (process {number}) did not end within 30 s.")

    def wait_ready(self, timeout_s: float = 30) -> None:
        """Wait until the API answers.

        Raises:
            SandboxError: it does not; the end of its log is in the message.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            try:
                requests.get(f"{self.sandbox.url}/actors/v2", timeout=2)
            except requests.RequestException:
                time.sleep(0.2)
                continue
            return
        raise SandboxError(
            f"The bridge does not answer at {self.sandbox.url} after {timeout_s:.0f} s: "
            + self.log("api")[-800:]
        )

    def log(self, name: str) -> str:
        """Return the log of one of the two."""
        done = self.sandbox.run("login", ["cat", f"/var/log/bridge/{name}.log"], check=False)
        return done.stdout

    def token(self, username: str, *options: str, tenant: str | None = None) -> str:
        """Return a token for one of the sandbox's users."""
        argv = ["bridge", "token", "create", "--tenant", tenant or TENANTS[username]]
        argv += ["--username", username, *options]
        return self.sandbox.run("login", argv, env=self.environment).stdout.strip()


def prepare_sudo(sandbox: Sandbox) -> None:
    """Do on the login node what an admin does for the `sudo` way."""
    sandbox.run("login", ["bridge", "agent", "install"])
    lines = sandbox.run("login", ["bridge", "agent", "sudoers", "--runas", "%science"]).stdout
    sandbox.put("login", "/etc/sudoers.d/abaco-bridge", lines.encode(), mode=0o440)
    sandbox.run("login", ["visudo", "--check", "--quiet"])


def rest_version(sandbox: Sandbox) -> str:
    """Return the newest version of its answers that this sandbox's slurmrestd has."""
    release = sandbox.run("head", ["slurmrestd", "-V"]).stdout.split()[-1]  # slurm-wlm 24.11.5
    return _REST_VERSIONS[release.rpartition(".")[0]]


def _pid_file(name: str) -> str:
    return f"/run/bridge-{name}.pid"
