"""The agent: acts as one user for the bridge, by a closed list of verbs over its stdin and stdout.

One JSON object a line each way, one request at a time::

    {"id": 7, "verb": "read", "path": "/scratch/alice/x", "offset": 0, "limit": 100}
    {"id": 7, "ok": true, "data": "aGVsbG8=", "size": 5}
    {"id": 7, "ok": false, "kind": "missing", "message": "..."}

`kind` is missing, refused, timeout or failed. Whatever the input, the answer to a line is a line;
the agent ends with its stdin.

========  ================================================  =======================================
verb      takes                                             gives
========  ================================================  =======================================
hello                                                       version, program (sha256 of this file),
                                                            uid, gid, groups, group_names (by
                                                            number), user, host
run       argv, stdin, timeout_s, env, limit_bytes          exit_status, stdout, stderr, cut
put       path, data, mode, new (default false)
begin     path, mode                                        draft: the number of a file that comes
                                                            in pieces; it has no name yet
append    draft, data
finish    draft                                             (its file has its name now)
drop      draft
read      path, offset, limit                               data, size
read_each files: lists of path, offset, limit               pieces: data and size of each, or why
                                                            not: kind, message
list      path, limit                                       entries: name, kind, size; cut
rename    source, target
mkdir     path, mode, parents
remove    path
========  ================================================  =======================================

stdin, stdout, stderr and data are base64. The environment of a command is exactly `env`. Drafts
that are not finished when the agent ends are dropped.
"""

import base64
import binascii
import ctypes
import grp
import hashlib
import io
import itertools
import json
import os
import pwd
import socket
import sys
from typing import Any, Callable, Dict, List, Optional

from bridge.node import PROTOCOL_VERSION, commands, files
from bridge.node.refusals import Refused, TimedOut

MAX_LINE_BYTES = 64 << 20
MAX_OUTPUT_BYTES = 16 << 20
OUTPUT_BYTES = 4 << 20
MAX_DRAFTS = 4

Request = Dict[str, Any]
Answer = Dict[str, Any]


class _Malformed(Exception):
    """The request is not one that the agent knows."""


_drafts: Dict[int, files.Draft] = {}
_numbers = itertools.count(1)


_PR_SET_NO_NEW_PRIVS = 38


def settle() -> None:
    """Leave behind what came with the way in: directory, stderr, what setuid programs would give.

    Not all ways have done it before (sudo and ssh have not). Where the kernel lacks
    no_new_privs, there is nothing to leave.
    """
    os.chdir("/")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def serve(requests: int, answers: int) -> None:
    """Answer each line of the descriptor `requests` on `answers` until the former ends.

    Both are moved away from 0 and 1, where a program that is run could get at them.
    """
    moved = _move(requests, os.O_RDONLY), _move(answers, os.O_WRONLY)
    with io.open(moved[0], "rb") as source, io.open(moved[1], "wb") as target:
        try:
            for line in iter(lambda: source.readline(MAX_LINE_BYTES + 1), b""):
                target.write(json.dumps(_answer(line, source)).encode() + b"\n")
                target.flush()
        finally:
            for number in list(_drafts):
                _drafts.pop(number).drop()


def _move(handle: int, flags: int) -> int:
    moved = os.dup(handle)
    null = os.open(os.devnull, flags)
    os.dup2(null, handle)
    os.close(null)
    return moved


def _answer(line: bytes, source: io.BufferedReader) -> Answer:
    number = None
    try:
        request = _parse(_whole(line, source))
        number = request.get("id")
        return dict(_dispatch(request), id=number, ok=True)
    except Exception as error:  # noqa: BLE001  # an edge: a bad request must not end the agent
        return dict(_refusal(error), id=number, ok=False)


def _refusal(error: Exception) -> Answer:
    return {"kind": _kind(error), "message": (str(error) or type(error).__name__)[:2000]}


def _whole(line: bytes, source: io.BufferedReader) -> bytes:
    """Return `line` if it is a whole one, else read on to its end and refuse it."""
    if len(line) <= MAX_LINE_BYTES:
        return line
    while line and not line.endswith(b"\n"):
        line = source.readline(1 << 20)
    raise _Malformed("a line is longer than %d bytes" % MAX_LINE_BYTES)


def _kind(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "missing"
    if isinstance(error, TimedOut):
        return "timeout"
    if isinstance(error, (Refused, PermissionError, NotADirectoryError, IsADirectoryError)):
        return "refused"
    return "failed"


def _parse(line: bytes) -> Request:
    try:
        request = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        raise _Malformed("not a line of JSON: %s" % type(error).__name__) from error
    if not isinstance(request, dict):
        raise _Malformed("not an object")
    return request


def _dispatch(request: Request) -> Answer:
    verb = request.get("verb")
    if not isinstance(verb, str) or verb not in _VERBS:
        raise _Malformed("unknown verb %r" % (verb,))
    return _VERBS[verb](request) or {}


def _hello(request: Request) -> Answer:
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = None
    return {
        "version": PROTOCOL_VERSION,
        "program": _program(),
        "uid": os.getuid(),
        "gid": os.getgid(),
        "groups": os.getgroups(),
        "group_names": _group_names(),
        "user": user,
        "host": socket.gethostname(),
    }


def _program() -> Optional[str]:
    """Return the hash of the file that this runs from, which tells releases apart."""
    try:
        with open(sys.argv[0], "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return None


def _group_names() -> Dict[str, str]:
    names = {}
    for number in os.getgroups():
        try:
            names[str(number)] = grp.getgrgid(number).gr_name
        except KeyError:
            pass  # a group without a name
    return names


def _run(request: Request) -> Answer:
    done = commands.run(
        _take_texts(request, "argv"),
        _take_bytes(request, "stdin"),
        _take_number(request, "timeout_s", 30),
        _take_env(request),
        min(_take_int(request, "limit_bytes", OUTPUT_BYTES), MAX_OUTPUT_BYTES),
    )
    return {
        "exit_status": done.exit_status,
        "stdout": base64.b64encode(done.stdout).decode(),
        "stderr": base64.b64encode(done.stderr).decode(),
        "cut": done.cut,
    }


def _put(request: Request) -> None:
    files.put(
        _take_path(request, "path"),
        _take_bytes(request, "data"),
        _take_int(request, "mode", 0o600) & 0o777,
        bool(request.get("new")),
    )


def _begin(request: Request) -> Answer:
    if len(_drafts) >= MAX_DRAFTS:
        raise Refused("%d files are being written already" % MAX_DRAFTS)
    mode = _take_int(request, "mode", 0o600) & 0o777
    number = next(_numbers)
    _drafts[number] = files.Draft(_take_path(request, "path"), mode)
    return {"draft": number}


def _append(request: Request) -> None:
    _drafts[_take_draft(request)].append(_take_bytes(request, "data"))


def _finish(request: Request) -> None:
    number = _take_draft(request)
    _drafts[number].finish()
    del _drafts[number]


def _drop(request: Request) -> None:
    _drafts.pop(_take_draft(request)).drop()


def _read(request: Request) -> Answer:
    limit = _take_int(request, "limit", 1 << 20)
    return files.read(_take_path(request, "path"), _take_int(request, "offset", 0), limit)


def _read_each(request: Request) -> Answer:
    """Read several files; one that cannot be read does not keep the others back."""
    pieces = []
    for path, offset, limit in _take_triples(request, "files"):
        try:
            pieces.append(_read({"path": path, "offset": offset, "limit": limit}))
        except (OSError, Refused) as error:
            pieces.append(_refusal(error))
    return {"pieces": pieces}


def _list(request: Request) -> Answer:
    return files.list_names(_take_path(request, "path"), _take_int(request, "limit", 10000))


def _rename(request: Request) -> None:
    os.rename(_take_path(request, "source"), _take_path(request, "target"))


def _mkdir(request: Request) -> None:
    mode = _take_int(request, "mode", 0o700) & 0o777
    files.mkdir(_take_path(request, "path"), mode, bool(request.get("parents")))


def _remove(request: Request) -> None:
    files.remove(_take_path(request, "path"))


_VERBS: Dict[str, Callable[[Request], Any]] = {
    "hello": _hello,
    "run": _run,
    "put": _put,
    "begin": _begin,
    "append": _append,
    "finish": _finish,
    "drop": _drop,
    "read": _read,
    "read_each": _read_each,
    "list": _list,
    "rename": _rename,
    "mkdir": _mkdir,
    "remove": _remove,
}


def _take_path(request: Request, name: str) -> str:
    """Return an absolute path: the agent's own directory means nothing to the bridge."""
    value = request.get(name)
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise _Malformed("%s is %r, expected an absolute path" % (name, value))
    return os.path.normpath(value) if value.strip("/") else "/"


def _take_draft(request: Request) -> int:
    number = _take_int(request, "draft", 0)
    if number not in _drafts:
        raise _Malformed("there is no draft %d" % number)
    return number


def _take_bytes(request: Request, name: str) -> bytes:
    try:
        return base64.b64decode(request.get(name, ""), validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise _Malformed("%s is not base64" % name) from error


def _take_number(request: Request, name: str, default: float) -> float:
    value = request.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e15:
        raise _Malformed("%s is %r, expected a number, 0 or more" % (name, value))
    return value


def _take_int(request: Request, name: str, default: int) -> int:
    value = _take_number(request, name, default)
    if not isinstance(value, int):
        raise _Malformed("%s is %r, expected a whole number" % (name, value))
    return value


def _take_triples(request: Request, name: str) -> List[List[Any]]:
    value = request.get(name)
    if not isinstance(value, list) or not all(isinstance(v, list) and len(v) == 3 for v in value):
        raise _Malformed("%s is not a list of lists of three" % name)
    return value


def _take_texts(request: Request, name: str) -> List[str]:
    value = request.get(name)
    if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
        raise _Malformed("%s is not a list of texts" % name)
    return value


def _take_env(request: Request) -> Dict[str, str]:
    value = request.get("env", {})
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise _Malformed("env is not an object of texts")
    return value
