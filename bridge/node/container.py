"""The command line and environment that start one container with Apptainer. Pure: runs nothing.

Tried with Apptainer 1.4.5 (design.md section 6, field.md 2.4):

* Values travel as ``APPTAINERENV_<name>`` with ``--no-eval``: a shell evaluates them otherwise.
* A single name that is no shell identifier makes Apptainer's embedded shell give up, and *every*
  variable is lost ("source: /.inject-apptainer-env.sh: invalid var name"); HOME is refused. Such
  variables travel under names of ours, and the shim hands them on through ``env``, because a shell
  drops what it cannot name.
* Its embedded shell reads the end of a line as DOS writes it, CR LF, as LF alone, in the midst of a
  value. Such a value travels with a mark between the two, which the shim takes out.
* Inherited file descriptors reach the container: through one the shim says that the actor starts.
  The runtime's own failures end with 255 as an actor may, so this alone tells them apart.
* ``--bind`` splits at commas and colons, ``--mount`` takes quoted fields.
* Without APPTAINER_CONFIGDIR it leaves a directory in the user's home.
"""

import re
from typing import Dict, List, NamedTuple, Tuple

from bridge.node.gpus import gpu_options
from bridge.node.messages import Message
from bridge.node.spool import Array

BINARY_DATA = "/_abaco_binary_data"
MARKER_FD = 3
STARTED = b"started"
NOT_FOUND = b"not found"
UNMADE = b"unmade: "  # and why: there is no container, so nothing of the actor's can have run
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# Of these Apptainer makes something else: it refuses, drops or obeys them.
_REFUSED_BY_APPTAINER = frozenset(
    {"HOME", "IFS", "OPTIND", "UID", "EUID", "GID", "PPID", "PREPEND_PATH", "APPEND_PATH"}
)
_CARRIER = "_bridge_shim_"

# Both run in the actor's own /bin/sh: plain POSIX words, and `echo`, which is built in everywhere.
_LOOK = "command -v -- \"$1\" >/dev/null 2>&1 || { echo 'not found' >&3; exit 127; }\n"
# The value is split at the mark and joined with nothing between, in time that is linear in it.
_MEND = """\
_bridge_shim_join() {
  _bridge_shim_name=$1
  IFS=$_bridge_shim_mark
  eval "set -- \\$$1"
  IFS=
  eval "$_bridge_shim_name=\\"\\$*\\""
}
set -f
for _bridge_shim_each in $_bridge_shim_mend; do
  _bridge_shim_join "$_bridge_shim_each"
done
set +f
unset IFS _bridge_shim_mend _bridge_shim_mark _bridge_shim_each _bridge_shim_name
unset -f _bridge_shim_join
"""
_CARRY = """\
_bridge_shim_n=$1
shift
%s
if command -v env >/dev/null 2>&1; then
  while [ "$_bridge_shim_n" -gt 0 ]; do
    eval "set -- \\"\\$_bridge_shim_$_bridge_shim_n\\" \\"\\$@\\""
    unset "_bridge_shim_$_bridge_shim_n"
    _bridge_shim_n=$((_bridge_shim_n - 1))
  done
  set -- env "$@"
fi
unset _bridge_shim_n
"""
# What may be a secret is no argument of `env`, which everybody on the node could read for a moment.
# GNU's takes it from a variable; where there is another, it gets a name that a shell can carry.
_HIDE = """\
if env -S 'x=1' true >/dev/null 2>&1; then
  set -- env -u _bridge_shim_nonce -S 'x-nonce=${_bridge_shim_nonce}' "$@"
else
  [ -n "${x_nonce+x}" ] || export x_nonce="$_bridge_shim_nonce"
  unset _bridge_shim_nonce
fi
"""
_GO = 'echo started >&3\nexec 3>&-\nexec "$@"\n'
# No character of these means anything to a shell, but for some that bash uses within.
_MARKS = [chr(number) for number in range(0x1F, 0x01, -1) if chr(number) not in "\t\n\v\f\r"]


class Launch(NamedTuple):
    """What a process is started with."""

    argv: List[bytes]
    env: Dict[bytes, bytes]


def build_launch(
    array: Array,
    message: Message,
    own: Dict[str, str],
    runtime_env: Dict[str, str],
    mounts: List[Tuple[str, str, str]],
    options: Tuple[str, ...] = (),
) -> Launch:
    """Return what starts a container for `message`.

    Args:
        array: what all messages share.
        message: the message.
        own: variables that the worker itself knows; they win.
        runtime_env: the whole environment of the runtime itself: nothing is inherited.
        mounts: what this message has besides the array's binds, in the same form.
        options: more options for the runtime.
    """
    environment = merge_environment(array, message, own)
    nonce = environment.pop("x-nonce", None)  # a credential of whoever posted
    names, carried = split_environment(environment)
    argv = [array.apptainer, "--silent", "exec"]
    argv += ["--containall", "--no-home", "--no-eval", "--writable-tmpfs", *options]
    if array.gpus:
        argv += gpu_options()
    argv += ["--pwd", array.workdir or "/"]
    for source, target, mode in array.binds + mounts:
        argv += ["--mount", build_mount(source, target, mode)]
    argv += [array.sif, "/bin/sh", "-c"]
    env = {encode(name): encode(value) for name, value in runtime_env.items()}
    for number, (name, value) in enumerate(carried, 1):
        names[_CARRIER + str(number)] = name + "=" + value
    if nonce is not None:
        names[_CARRIER + "nonce"] = nonce
    mends = mark_line_ends(names)
    argv += [build_shim(carries=bool(carried), mends=mends, hides=nonce is not None), "bridge"]
    argv += ([str(len(carried))] if carried else []) + array.command
    for name, value in names.items():
        env[b"APPTAINERENV_" + encode(name)] = encode(value)
    return Launch([encode(word) for word in argv], env)


def merge_environment(array: Array, message: Message, own: Dict[str, str]) -> Dict[str, str]:
    """Return what the actor gets besides its image's environment."""
    return dict(array.environment, **dict(message.env, **own))


def build_shim(*, carries: bool = False, mends: bool = False, hides: bool = False) -> str:
    """Return the shell script that becomes the actor.

    Args:
        carries: variables that a shell cannot name; how many they are is its first argument.
        mends: values with a mark in their DOS line ends.
        hides: a nonce, which must not be seen in any command line.
    """
    shim = _CARRY % _LOOK.strip() if carries else _LOOK
    return (_MEND if mends else "") + shim + (_HIDE if hides else "") + _GO


def runtime_places(directory: str) -> Dict[str, str]:
    """Return the variables that keep the runtime's own files in a directory of ours."""
    return {
        "TMPDIR": directory,
        "APPTAINER_CONFIGDIR": directory + "/config",
        "APPTAINER_CACHEDIR": directory + "/cache",
    }


def split_environment(
    environment: Dict[str, str],
) -> Tuple[Dict[str, str], List[Tuple[str, str]]]:
    """Return the variables that Apptainer takes, and those that have to be carried past it."""
    names = {}
    carried = []
    for name, value in environment.items():
        if _IDENTIFIER.match(name) and name not in _REFUSED_BY_APPTAINER:
            names[name] = value
        else:
            carried.append((name, value))
    return names, carried


def mark_line_ends(variables: Dict[str, str]) -> bool:
    """Put a mark into each CR LF of the values, and say which have one; whether any has.

    A value that has every mark there is already is left as it is.
    """
    to_mend = [name for name, value in variables.items() if "\r\n" in value]
    text = "".join(variables[name] for name in to_mend)
    mark = next((mark for mark in _MARKS if mark not in text), None)
    if not to_mend or mark is None:
        return False
    for name in to_mend:
        variables[name] = variables[name].replace("\r\n", "\r" + mark + "\n")
    variables[_CARRIER + "mend"] = " ".join(to_mend)
    variables[_CARRIER + "mark"] = mark
    return True


def build_mount(source: str, target: str, mode: str) -> str:
    """Return a value for ``--mount``: CSV, so that a path may hold commas, colons and quotes."""
    fields = ["type=bind", "source=" + source, "destination=" + target]
    if mode == "ro":
        fields.append("ro")
    return ",".join('"%s"' % field.replace('"', '""') for field in fields)


def encode(text: str) -> bytes:
    """Return `text` as UTF-8, whatever the locale of the job: a batch job often has none."""
    return text.encode("utf-8", "surrogatepass")
