"""A PostgreSQL server of the tests' own, from the programs of Debian's postgresql package."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FAST = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off"


class PostgresMissing(Exception):
    """Names what has to be installed."""


@contextmanager
def postgres_server(*, durable: bool = False) -> Iterator[str]:
    """Start a server in a directory of its own; give its URL; stop and remove it at the end.

    Only a `durable` one flushes what it commits to the disk.
    """
    programs = _find_programs()
    account = _find_account()
    # Not /tmp, which is memory on many systems: a durable one shall have a disk.
    parent = os.environ.get("TMPDIR", "/var/tmp") if durable else None
    directory = Path(tempfile.mkdtemp(prefix="bridge-pg-", dir=parent))
    try:
        if account is not None:
            os.chown(directory, account.pw_uid, account.pw_gid)

        def run(program: str, *arguments: str) -> None:
            subprocess.run(
                [str(programs / program), "-D", str(directory / "data"), *arguments],
                check=True,
                stdout=subprocess.DEVNULL,
                cwd=directory,
                user=None if account is None else account.pw_uid,
                group=None if account is None else account.pw_gid,
                extra_groups=None if account is None else [],
            )

        run("initdb", "-A", "trust", "-U", "bridge", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        log = str(directory / "log")
        options = f"-k {directory} -c listen_addresses='' {'' if durable else _FAST}"
        run("pg_ctl", "start", "-w", "-s", "-l", log, "-o", options)
        try:
            yield f"postgresql+psycopg://bridge@/postgres?host={directory}"
        finally:
            run("pg_ctl", "stop", "-w", "-s", "-m", "fast")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _find_programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        raise PostgresMissing("no /usr/lib/postgresql/*/bin/initdb: apt-get install postgresql")
    return found[-1].parent


def _find_account() -> pwd.struct_passwd | None:
    """Return the account to run the server as; initdb refuses to be root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        raise PostgresMissing(
            "no user postgres to run the server as: apt-get install postgresql"
        ) from None
