"""The forge: a keeper that stays, and makes a worker's containers one after another.

A keeper for each container costs a fork of the worker, and that is a third of what a short message
costs. Between the worker and its forge is a stream socket: each request is the length of a text
(4 bytes, the most significant first), the text, and three descriptors with its beginning: where the
container's output and its marker go, and the control of this one container, which speaks as any
keeper's. The end of the stream tells the forge to go.

Forking touches some 300 pages of the interpreter in forge and container, a seventh of a short
message. A forge that loads less than the worker (forked before the worker's modules) touches as
many: no faster. Nor is it to have the kernel map the interpreter's code at once (madvise(2)).
"""

import array
import functools
import os
import signal
import socket
import struct
import sys
import traceback
from typing import Callable, List, Optional, Tuple

from bridge.node import processes
from bridge.node.keeper import SIGNALS, Keeper

_LENGTH = struct.Struct("!I")
_DESCRIPTORS = 3
_PIECE = 1 << 16

# Makes what a request asks for, in the forge; returns the process to wait for.
Make = Callable[[bytes, List[int]], int]


class Forge:
    """Starts when made.

    Raises:
        OSError: this node has no processes or descriptors left.
    """

    def __init__(self, make: Make) -> None:
        self._socket, theirs = socket.socketpair()
        # One that came before its own handlers would be told to the worker's.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            self.pid = os.fork()
            if self.pid == 0:
                _be_forge(make, self._socket, theirs)
        except OSError:
            self._socket.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            theirs.close()

    def begin(self, request: bytes, handles: List[int]) -> socket.socket:
        """Have a container made; return the worker's end of its control.

        Args:
            request: what `make` is to be given.
            handles: for the output and for the marker.

        Raises:
            BrokenPipeError, ConnectionResetError: the forge is gone, and nothing was started.
            OSError: no descriptors are left.
        """
        control, theirs = socket.socketpair()
        data = _LENGTH.pack(len(request)) + request
        try:
            passed = array.array("i", [*handles, theirs.fileno()])
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)]
            sent = self._socket.sendmsg([data], rights)
            self._socket.sendall(data[sent:])
        except OSError:
            control.close()
            raise
        finally:
            theirs.close()
        return control

    def close(self) -> None:
        """Let it go, and wait for its end."""
        self._socket.close()
        os.waitpid(self.pid, 0)


def _be_forge(make: Make, ours: socket.socket, theirs: socket.socket) -> None:
    """Serve until the worker lets go and exit; never returns into the worker's code."""
    try:
        ours.close()
        os.setsid()
        processes.become_subreaper()
        _serve(make, theirs, Keeper())
        os._exit(0)
    except BaseException:  # noqa: BLE001  # an edge: the worker's frames are above this one
        traceback.print_exc(file=sys.stderr)
    finally:
        os._exit(1)


def _serve(make: Make, requests: socket.socket, keeper: Keeper) -> None:
    is_stuck = False
    while not is_stuck:
        request = _receive(requests)
        if request is None:
            return
        data, (output, marker, control) = request
        with socket.socket(fileno=control) as report_to:
            start = functools.partial(make, data)
            report = keeper.keep(start, [output, marker], report_to)
            is_stuck = keeper.is_stuck()
            if is_stuck:
                requests.close()  # before the worker can ask for the next
            try:
                report_to.sendall(report)
            except BrokenPipeError:  # the worker is gone
                return


def _receive(requests: socket.socket) -> Optional[Tuple[bytes, List[int]]]:
    """Return the next request and its descriptors, None when there will be no more."""
    handles = array.array("i")
    room = socket.CMSG_SPACE(_DESCRIPTORS * handles.itemsize)
    data, rights, _, _ = requests.recvmsg(_PIECE, room, socket.MSG_CMSG_CLOEXEC)
    for _, _, passed in rights:
        handles.frombytes(passed[: len(passed) - len(passed) % handles.itemsize])
    pieces = [data]
    while data and sum(map(len, pieces)) < _LENGTH.size:
        data = requests.recv(_PIECE)
        pieces.append(data)
    whole = bytearray(b"".join(pieces))
    while data and len(whole) < _LENGTH.size + _LENGTH.unpack_from(whole)[0]:
        data = requests.recv(_PIECE)
        whole += data
    return (bytes(whole[_LENGTH.size :]), list(handles)) if data else None
