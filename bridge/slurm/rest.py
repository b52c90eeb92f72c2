"""Slurm by its REST daemon: the port over HTTP, as each user with a token of his own.

The files still go over the owner's session; only Slurm is asked another way. slurmctld compares
name and id of what is cancelled itself. Known limits: slurmrestd lists everybody's jobs or one, so
each look costs about 9 KB for every job on the cluster (10,000 jobs: 90 MB, a second or two); where
that is too much, the commands are the better way. Source: rest_api.html of Slurm's documentation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import requests

from bridge.clock import monotonic_s
from bridge.errors import (
    PolicyLimit,
    SettingsError,
    SlurmError,
    SlurmUnavailable,
    UnreadableOutput,
)
from bridge.sessions.base import UserSession
from bridge.sites import Slurmrestd
from bridge.slurm.port import JobRow
from bridge.slurm.refusals import is_unclear, submit_error
from bridge.slurm.rest_answer import (
    accounted_row,
    check_cancelled,
    listed_row,
    read_answer,
    read_complaint,
    read_jobs,
)
from bridge.slurm.rest_body import build_cancel_body, build_submission

CONNECT_TIMEOUT_S = 5.0
# As long as sbatch's own patience, and as long as squeue's (bridge.slurm.commands).
SUBMIT_TIMEOUT_S = 150.0
ASK_TIMEOUT_S = 30.0
PIECE_BYTES = 256 << 10
MOST_BYTES = 1 << 30  # of one answer
NAMES_PER_CALL = 200  # they travel in the URL
# slurmrestd cancels by name from here on (DELETE /jobs/).
OLDEST = 41
_VERSION = re.compile(r"/slurm/(v0\.0\.([0-9]{2}))/")
# Whether a gateway before slurmrestd or slurmrestd itself is out of order.
_OUT_OF_ORDER = frozenset({502, 503, 504})
_NOT_BELIEVED = frozenset({401, 511})


class SlurmRest:
    """The port over slurmrestd.

    Args:
        config: where it is, and which version of its answers is asked for.
        sign: gives a fresh token for a user name, or raises `SlurmError`.
        user_of: gives the Slurm user for the name of a session.
    """

    def __init__(
        self,
        config: Slurmrestd,
        sign: Callable[[str], str],
        user_of: Callable[[str], str] = str,
    ) -> None:
        self._config = config
        self._sign = sign
        self._user_of = user_of

    def check(self) -> str:
        """See `SlurmPort.check`."""
        version = self._config.version
        if int(version[-2:]) < OLDEST:
            raise SettingsError(
                f'slurmrestd.version is "{version}"; expected v0.0.{OLDEST} (Slurm 24.05) or later.'
            )
        with self._ask("GET", f"/slurm/{version}/diag/", self._config.observer) as answer:
            if answer.status_code == 404:
                raise SettingsError(self._not_offered())
            if answer.status_code in _NOT_BELIEVED:
                raise SettingsError(self._not_believed(self._config.observer))
            self._check_status(answer, self._config.observer)
            meta = read_answer(_pieces(answer, ASK_TIMEOUT_S)).get("meta")
        slurm = meta.get("slurm") if isinstance(meta, dict) else None
        return f"slurmrestd of Slurm {slurm.get('release') if isinstance(slurm, dict) else '?'}"

    def submit(self, session: UserSession, script: str) -> int:
        """See `SlurmPort.submit`."""
        body = build_submission(script)
        path, timeout_s = f"/slurm/{self._config.version}/job/submit", SUBMIT_TIMEOUT_S
        username = self._user_of(session.username)
        with self._ask("POST", path, username, timeout_s, json=body) as answer:
            self._check_status(answer, username)
            found = read_answer(_pieces(answer, timeout_s))
        said = read_complaint(found)
        if said:
            raise submit_error("slurmrestd", said)
        job = found.get("job_id")
        if not isinstance(job, int) or job < 1:
            raise UnreadableOutput(f"slurmrestd: expected a job_id, got {job!r:.80}.")
        return job

    def states(self, names: Collection[str]) -> list[JobRow]:
        """See `SlurmPort.states`."""
        if not names:
            return []
        return self._jobs(f"/slurm/{self._config.version}/jobs/", listed_row(names))

    def accounting(self, names: Collection[str], since: datetime) -> list[JobRow]:
        """See `SlurmPort.accounting`."""
        rows, ordered = [], sorted(names)
        for first in range(0, len(ordered), NAMES_PER_CALL):
            some = ordered[first : first + NAMES_PER_CALL]
            query = {
                "job_name": ",".join(some),
                "start_time": str(int(since.timestamp())),
                "skip_steps": "true",
                "show_duplicates": "true",
            }
            path = f"/slurmdb/{self._config.version}/jobs/"
            rows += self._jobs(path, accounted_row(some), query)
        return rows

    def cancel(self, session: UserSession, array_job_id: int, name: str) -> None:
        """See `SlurmPort.cancel`."""
        self._cancel(session, build_cancel_body(array_job_id, name))

    def cancel_waiting(
        self, session: UserSession, array_job_id: int, name: str, tasks: Collection[int]
    ) -> None:
        """See `SlurmPort.cancel_waiting`."""
        self._cancel(session, build_cancel_body(array_job_id, name, tasks))

    def _cancel(self, session: UserSession, body: dict[str, Any]) -> None:
        username = self._user_of(session.username)
        path = f"/slurm/{self._config.version}/jobs/"
        with self._ask("DELETE", path, username, json=body) as answer:
            self._check_status(answer, username)
            check_cancelled(read_answer(_pieces(answer, ASK_TIMEOUT_S)))

    def _jobs(
        self,
        path: str,
        read_row: Callable[[Mapping[str, Any]], JobRow | None],
        query: Mapping[str, str] | None = None,
    ) -> list[JobRow]:
        with self._ask("GET", path, self._config.observer, params=query) as answer:
            self._check_status(answer, self._config.observer)
            rows, rest = read_jobs(_pieces(answer, ASK_TIMEOUT_S), read_row)
        said = read_complaint(rest)
        if is_unclear(said):
            raise SlurmUnavailable(f"slurmrestd got no answer: {said}")
        if said:
            raise SlurmError(f"slurmrestd could not list jobs: {said}")
        return rows

    def _check_status(self, answer: requests.Response, username: str) -> None:
        """Refuse what slurmrestd has not said itself; its own refusals have a document."""
        if answer.status_code in _OUT_OF_ORDER:
            raise SlurmUnavailable(f"{self._config.url} answered {answer.status_code}.")
        # Both are mistakes of the site's, not of the request: it can go again once they are mended.
        if answer.status_code == 404:
            raise PolicyLimit(self._not_offered())
        if answer.status_code in _NOT_BELIEVED:
            raise PolicyLimit(self._not_believed(username))
        if answer.is_redirect or answer.status_code == 405:
            raise SlurmError(
                f"{self._config.url} answered {answer.status_code}: this is no slurmrestd."
            )

    def _not_offered(self) -> str:
        offered = "it does not say what it offers"
        with self._ask("GET", "/openapi/v3", self._config.observer) as answer:
            text = b"".join(_pieces(answer, ASK_TIMEOUT_S)).decode(errors="replace")
        versions = sorted({m[1] for m in _VERSION.finditer(text) if int(m[2]) >= OLDEST})
        if versions:
            offered = f"it offers {', '.join(versions)}"
        return (
            f"slurmrestd at {self._config.url} has no {self._config.version}; {offered}. "
            "Set slurmrestd.version in the site file."
        )

    def _not_believed(self, username: str) -> str:
        return (
            f"slurmrestd at {self._config.url} does not accept the token for {username}: is "
            f"{self._config.jwt_key_file} the cluster's jwt_key, and are the clocks right?"
        )

    @contextmanager
    def _ask(
        self,
        method: str,
        path: str,
        username: str,
        timeout_s: float = ASK_TIMEOUT_S,
        *,
        params: Mapping[str, str] | None = None,
        json: Mapping[str, Any] | None = None,
    ) -> Iterator[requests.Response]:
        """Ask as `username`; whatever breaks off on the way is an unclear answer."""
        headers = {"X-SLURM-USER-NAME": username, "X-SLURM-USER-TOKEN": self._sign(username)}
        try:
            with requests.Session() as client:
                client.trust_env = False  # no proxy and no .netrc of whoever started the bridge
                with client.request(
                    method,
                    self._config.url.rstrip("/") + path,
                    headers=headers,
                    params=params,
                    json=json,
                    timeout=(CONNECT_TIMEOUT_S, timeout_s),
                    allow_redirects=False,
                    stream=True,
                ) as answer:
                    yield answer
        except requests.RequestException as error:
            raise SlurmUnavailable(
                f"{self._config.url} gave no answer to {method} {path}: {error}"[:500]
            ) from error


def _pieces(answer: requests.Response, timeout_s: float) -> Iterator[bytes]:
    """Give the body, within bounds of size and time."""
    deadline, size = monotonic_s() + timeout_s, 0
    for piece in answer.iter_content(PIECE_BYTES):
        size += len(piece)
        if size > MOST_BYTES:
            raise UnreadableOutput(f"slurmrestd: an answer of over {MOST_BYTES} bytes.")
        if monotonic_s() > deadline:
            raise SlurmUnavailable(f"slurmrestd: no end of its answer within {timeout_s:.0f} s.")
        yield piece
