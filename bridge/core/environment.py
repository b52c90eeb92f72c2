"""Names that a caller may set in an actor's environment.

Whoever may post a message is not always the owner, yet the container runs as the owner: what a
message can set crosses a privilege boundary (design.md section 6, field.md 2.4). Values are free,
names are not.
"""

from __future__ import annotations

import re

from bridge.errors import InvalidField

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# Abaco passes every query key on, these two among them (3.3, 5.1).
_ABACO_QUERY_NAMES = frozenset({"x-nonce", "_abaco_synchronous"})
# What would steer the container runtime or Slurm: nobody may set these.
_RUNTIME_PREFIXES = (
    "APPTAINER", "SINGULARITY", "SING_", "SLURM", "SBATCH_", "SRUN_", "SALLOC_", "SACCT_",
    "SQUEUE_", "SCANCEL_", "_abaco_", "_bridge_",
)  # fmt: skip
# What would steer the owner's program: whoever may change the actor may, a message may not. Code
# that a loader, an interpreter or a shell takes from a variable; and where a program sends the
# owner's token and believes what comes back: proxies, certificates, names of hosts.
_CALLER_PREFIXES = (
    "LD_", "DYLD_", "GCONV_", "GLIBC_", "MALLOC_", "BASH", "GIT_CONFIG", "GIT_SSH", "SSL_",
    "SSLKEY", "OPENSSL_", "PYTHON", "PERL", "RUBY", "GEM_", "BUNDLE_", "R_PROFILE", "R_ENVIRON",
    "R_LIBS", "LUA_", "JULIA_", "PHP", "OMPI_", "PMI", "PRTE_", "CUDA_", "NVIDIA_", "XDG_",
)  # fmt: skip
_CALLER_NAMES = frozenset(
    {
        "PATH", "PREPEND_PATH", "APPEND_PATH", "HOME", "TMPDIR", "ENV", "SHELL", "SHELLOPTS", "IFS",
        "PS4", "CDPATH", "GLOBIGNORE", "PROMPT_COMMAND", "MSG", "_actor_configs", "CLASSPATH",
        "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "NODE_OPTIONS", "NODE_PATH",
        "NODE_EXTRA_CA_CERTS", "NODE_TLS_REJECT_UNAUTHORIZED", "R_HOME", "NLSPATH", "LOCPATH",
        "TERMINFO", "TERMCAP", "TZDIR", "HOSTALIASES", "LOCALDOMAIN", "RES_OPTIONS", "LESSOPEN",
        "LESSCLOSE", "PAGER", "EDITOR", "VISUAL", "BROWSER", "GIT_PROXY_COMMAND", "GIT_EXEC_PATH",
        "GIT_ASKPASS", "GIT_PAGER", "GIT_EDITOR", "GIT_EXTERNAL_DIFF", "GIT_TEMPLATE_DIR",
        "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "CURL_HOME", "WGETRC", "NETRC",
        *(
            name
            for scheme in ("http", "https", "ftp", "all", "no")
            for name in (f"{scheme}_proxy", f"{scheme.upper()}_PROXY")
        ),
    }
)  # fmt: skip
MAX_VALUE_BYTES = 64 * 1024


def check_name(name: str, source: str, *, by_caller: bool) -> None:
    """Refuse a variable name that is malformed or reserved.

    Args:
        name: the variable's name.
        source: where it came from, for the error.
        by_caller: it comes with a message, not from the actor's description.

    Raises:
        InvalidField: says the name, where it came from and what is allowed.
    """
    if by_caller and name in _ABACO_QUERY_NAMES:
        return
    if not _NAME.match(name):
        raise InvalidField(
            f"Invalid environment variable name {name!r} in {source}: expected letters, digits "
            "and underscores, not starting with a digit."
        )
    reserved = name.startswith(_RUNTIME_PREFIXES) or (
        by_caller and (name in _CALLER_NAMES or name.startswith(_CALLER_PREFIXES))
    )
    if reserved:
        raise InvalidField(
            f"Environment variable {name} in {source} is reserved: it would change how the "
            "container runs. Use another name."
        )


def check_value(name: str, value: str, source: str) -> None:
    """Refuse a value that no process could be given.

    Raises:
        InvalidField: the value has a NUL byte, is no text or is longer than 64 KiB.
    """
    if "\0" in value:
        raise InvalidField(f"Environment variable {name} in {source} contains a NUL byte.")
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise InvalidField(
            f"Environment variable {name} in {source} contains half of a surrogate pair, which is "
            "no text."
        ) from error
    if size > MAX_VALUE_BYTES:
        raise InvalidField(
            f"Environment variable {name} in {source} is longer than {MAX_VALUE_BYTES} bytes; "
            "send large data as a binary message or through a file on a mounted filesystem."
        )
