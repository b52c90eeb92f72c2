"""Command lines for work inside a node: pure, so that their quoting can be tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# $1 path, $2 owner, $3 mode: written aside, then renamed, so that no reader sees a half of it.
PUT_SCRIPT = """\
set -e
umask 077
new=$(mktemp "$(dirname "$1")/.put.XXXXXX")
trap 'rm -f "$new"' EXIT
cat > "$new"
chown "$2:" "$new"
chmod "$3" "$new"
mv -fT "$new" "$1"
"""

# $1 log, the rest the command, which gets a session of its own. Prints its number.
START_SCRIPT = """\
log=$1
shift
exec 3>&1 >> "$log" 2>&1 < /dev/null || exit
setsid "$@" 3>&- &
echo $! >&3
"""


def build_user_argv(
    argv: Sequence[str], *, user: str, env: Mapping[str, str] | None = None
) -> list[str]:
    """Return the command that runs `argv` as `user` in a fresh environment, as after a login.

    All of the user's groups, no capability, none of the container's own variables: HOME, SHELL,
    USER, LOGNAME, PATH and what `env` adds. Root keeps its capabilities. Works where `argv` is run
    by root. Source: setpriv(1).
    """
    words = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--reset-env"]
    if user != "root":
        words += ["--inh-caps=-all"]
    assignments = [f"{name}={value}" for name, value in (env or {}).items()]
    return [*words, "--", "env", "--chdir=" + home_of(user), *assignments, *argv]


def home_of(user: str) -> str:
    """Return the home directory of one of the sandbox's users."""
    return {"root": "/root", "bridge": "/var/lib/bridge"}.get(user, f"/home/{user}")


def build_limited_argv(argv: Sequence[str], timeout_s: float) -> list[str]:
    """Return the command that ends `argv` after `timeout_s`; killing the engine's client does not.

    Source: timeout(1); the exit code is then 124, or 137 when it had to be killed.
    """
    return ["timeout", "--kill-after=5", str(timeout_s), *argv]


def build_put_argv(path: str, owner: str, mode: int) -> list[str]:
    """Return the command that writes its standard input to `path`."""
    return ["sh", "-c", PUT_SCRIPT, "put", path, owner, f"{mode:04o}"]


def build_start_argv(
    argv: Sequence[str], *, user: str, env: Mapping[str, str] | None, log_path: str
) -> list[str]:
    """Return the command that starts `argv` in the background and prints its process number.

    Output is appended to `log_path`, which is opened as `user`.
    """
    return build_user_argv(["sh", "-c", START_SCRIPT, "start", log_path, *argv], user=user, env=env)
