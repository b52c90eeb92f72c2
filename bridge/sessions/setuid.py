"""The `setuid` way, as the scheduler sees it: asking the spawner."""

from __future__ import annotations

import json
import socket
import threading

from bridge.errors import ConnectFailed
from bridge.sessions.openers import Opener, Stream, check_login


class SpawnerClient:
    """Asks the spawner (bridge.sessions.spawner).

    One for all who ask: what keeps each answer with its question is that there is one question at
    a time.
    """

    def __init__(self, spawner: socket.socket) -> None:
        self._spawner = spawner
        self._lock = threading.Lock()

    def opener(self, cluster: str) -> Opener:
        """Return the way of becoming a user of `cluster`."""

        def open_setuid(login: str) -> Stream:
            check_login(login)
            return self._ask(cluster, login)

        return open_setuid

    def _ask(self, cluster: str, login: str) -> socket.socket:
        question = json.dumps({"cluster": cluster, "login": login}).encode()
        try:
            with self._lock:
                self._spawner.send(question)
                answer, descriptors, _, _ = socket.recv_fds(self._spawner, 4096, 1)
        except OSError as error:
            raise ConnectFailed(f"The spawner cannot be asked: {error.strerror}.") from error
        if not answer:
            raise ConnectFailed("The spawner has ended; restart the scheduler.")
        found = json.loads(answer)
        if not found["ok"]:
            raise ConnectFailed(f"No session as {login}: {found['message']}.")
        if not descriptors:  # the kernel drops them when this process may open no more
            raise ConnectFailed(f"No session as {login}: too many open files.")
        return socket.socket(fileno=descriptors[0])
