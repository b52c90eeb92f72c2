"""Open sessions, one a user, closed when idle."""

from __future__ import annotations

import contextlib
import threading

from bridge.clock import monotonic_s
from bridge.errors import ConnectFailed, SessionError
from bridge.sessions.agent import AgentSession
from bridge.sessions.base import UserSession
from bridge.sessions.greeting import Check, read_greeting
from bridge.sessions.openers import Complaining, Opener, Stream
from bridge.sessions.patience import Patience

IDLE_S = 300.0


class _Place:
    """One user's: opening a session holds up nobody else's."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.session: AgentSession | None = None
        self.used_at_s = monotonic_s()


class SessionPool:
    """Gives each user's session; opens it when there is none or when it broke.

    Args:
        opener: the way of becoming a user.
        check: raises ConnectFailed unless the agent that came of it is who it should be.
        patience: with users whose agents are slow; None for as much as it takes.
    """

    def __init__(
        self, opener: Opener, check: Check | None = None, patience: Patience | None = None
    ) -> None:
        self._open = opener
        self._check = check
        self._patience = patience
        self._places: dict[str, _Place] = {}
        self._lock = threading.Lock()

    def session(self, username: str) -> UserSession:
        """Return a session as `username`.

        Raises:
            ConnectFailed: the way of becoming this user failed.
        """
        with self._lock:
            place = self._places.setdefault(username, _Place())
            place.used_at_s = monotonic_s()
        with place.lock:
            if place.session is None or place.session.broken:
                place.session = self._new_session(username)
            return place.session

    def _new_session(self, username: str) -> AgentSession:
        if self._patience is not None:
            self._patience.check(username)
        try:
            stream = self._open(username)
        except OSError as error:
            raise ConnectFailed(f"No agent could be started as {username}: {error}.") from error
        session = AgentSession(username, stream, patience=self._patience)
        try:
            self._greet(session, stream)
        except BaseException:
            session.close()
            raise
        return session

    def _greet(self, session: AgentSession, stream: Stream) -> None:
        try:
            hello = session.hello()
        except SessionError as error:
            said = stream.complaint() if isinstance(stream, Complaining) else ""
            raise ConnectFailed(
                f"The agent of {session.username} gave no greeting: {said.strip() or error.message}"
            ) from error
        if self._check is not None:
            self._check(session.username, read_greeting(hello))

    def close_idle(self) -> None:
        """Close what has not been asked for in five minutes."""
        with self._lock:
            for username, place in list(self._places.items()):
                if monotonic_s() - place.used_at_s > IDLE_S and not place.lock.locked():
                    del self._places[username]
                    if place.session is not None:
                        place.session.close()

    def close(self) -> None:
        """Close every session."""
        with self._lock:
            places = list(self._places.values())
            self._places.clear()
        for place in places:
            with place.lock, contextlib.suppress(OSError):
                if place.session is not None:
                    place.session.close()
