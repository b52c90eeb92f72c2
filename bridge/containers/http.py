"""GETs from registries: to checked addresses, bounded in time, each redirect looked at.

The standard library's HTTP client on sockets of our own, as for webhooks: no proxy is asked, no
redirect followed by itself, nothing decompressed. Where a redirect leads is checked as where a
reference does, and what was for one host is never said to another (Apptainer's CVE-2022-23538).
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection, HTTPException, HTTPResponse
from socket import socket
from urllib.parse import SplitResult, urljoin, urlsplit

from bridge import __version__
from bridge.errors import ImageRefused, PullFailed
from bridge.net import AddressRules, cut_off_after, find_addresses, open_connection, tls

READ_S = 30.0  # between two pieces
PIECE_BYTES = 1 << 16
_MAX_ADDRESSES = 3
_MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Login:
    """What one registry is told of who asks."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Access:
    """How registries may be reached, and as whom, for one image.

    Attributes:
        rules: which addresses.
        insecure: registries (host[:port]) that are asked over plain HTTP.
        login: for the registry of the image, None where it is asked as nobody.
        max_bytes: of all layers together, as they are sent.
        max_unpacked_bytes: of all layers together, as they are unpacked.
    """

    rules: AddressRules = field(default_factory=AddressRules)
    insecure: Collection[str] = ()
    login: Login | None = None
    max_bytes: int = 20_000_000_000
    max_unpacked_bytes: int = 100_000_000_000


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        status: of HTTP.
        headers: by name in lower case.
        pieces: the body, to be read once; raises `PullFailed` where it breaks off or is too slow.
        is_direct: whether it is of the host that was asked first, not of one it redirected to.
    """

    status: int
    headers: Mapping[str, str]
    pieces: Iterator[bytes]
    is_direct: bool = True


@contextlib.contextmanager
def get(
    url: str, access: Access, headers: Mapping[str, str], authorization: str, deadline_s: float
) -> Iterator[Answer]:
    """Give the answer to a GET of `url`, at the end of its redirects.

    Args:
        url: where to begin.
        access: what may be reached.
        headers: sent to whoever is asked.
        authorization: sent to the host of `url` alone; empty for none.
        deadline_s: for each hop, its body included.

    Raises:
        ImageRefused: it leads to where the site does not allow.
        PullFailed: nobody answers, or not in the form of HTTP.
    """
    first = origin(url)
    for _ in range(_MAX_REDIRECTS + 1):
        about = {**headers, "Accept-Encoding": "identity", "Connection": "close"}
        about["User-Agent"] = f"abaco-bridge/{__version__}"
        if authorization and origin(url) == first:
            about["Authorization"] = authorization
        with _get_once(url, access, about, deadline_s) as answer:
            target = answer.headers.get("location", "")
            if answer.status not in _REDIRECTS or not target:
                yield replace(answer, is_direct=origin(url) == first)
                return
            try:
                url = urljoin(url, target)
            except ValueError as error:
                raise PullFailed("The registry redirects to what is no URL.") from error
    raise PullFailed(f"The registry redirects more than {_MAX_REDIRECTS} times.")


def origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of `url`.

    Raises:
        PullFailed: it is no URL of HTTP.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        if ":" not in host:
            host = host.encode("idna").decode()
    except ValueError as error:  # a UnicodeError among them
        raise PullFailed("The registry names a URL that cannot be read.") from error
    if parts.scheme not in _PORTS or not host or "%" in host or port == 0:
        raise PullFailed("The registry names a URL that is not of http or https.")
    return parts.scheme, host, port or _PORTS[parts.scheme]


@contextlib.contextmanager
def _get_once(
    url: str, access: Access, headers: Mapping[str, str], deadline_s: float
) -> Iterator[Answer]:
    scheme, host, port = origin(url)
    parts = urlsplit(url)
    if scheme == "http" and not _is_insecure(parts, access.insecure):
        raise ImageRefused(
            f"The registry leads to {host} over plain HTTP: expected https, or a registry that "
            "the site lists in insecure_registries."
        )
    addresses = _permitted(host, port, access.rules)
    with contextlib.ExitStack() as stack:
        with _translated(f"{host}:{port}"):
            raw = stack.enter_context(open_connection(addresses, port))
        late = stack.enter_context(cut_off_after(raw, deadline_s))
        too_slow = f"no whole answer within {deadline_s:.0f} s"
        with _translated(f"{host}:{port}"):
            response = _ask(stack, raw, parts, (scheme, host, port), headers)
            if late.is_set():  # its headers are a half that looks whole
                raise TimeoutError(too_slow)
        found = {name.lower(): value for name, value in response.getheaders()}
        encoding = found.get("content-encoding", "identity").lower()
        if encoding != "identity" and response.status == 200:
            raise PullFailed(f"The registry {host} sends its answer packed by {encoding[:20]!r}.")

        def pieces() -> Iterator[bytes]:
            while True:
                with _translated(f"{host}:{port}"):
                    piece = response.read1(PIECE_BYTES)
                    if late.is_set():
                        raise TimeoutError(too_slow)
                if not piece:
                    break
                yield piece
            if response.length:
                raise PullFailed(f"The registry {host} broke off its answer.")

        yield Answer(response.status, found, pieces())


def _ask(
    stack: contextlib.ExitStack,
    raw: socket,
    parts: SplitResult,
    place: tuple[str, str, int],
    headers: Mapping[str, str],
) -> HTTPResponse:
    scheme, host, port = place
    raw.settimeout(READ_S)
    connection = HTTPConnection(host, port)
    connection.sock = raw
    if scheme == "https":
        connection.sock = tls().wrap_socket(raw, server_hostname=host)
    stack.callback(connection.close)
    netloc = f"[{host}]" if ":" in host else host
    netloc = netloc if port == _PORTS[scheme] else f"{netloc}:{port}"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection.request("GET", path, headers={"Host": netloc, **headers})
    return stack.enter_context(connection.getresponse())


def _is_insecure(parts: SplitResult, insecure: Collection[str]) -> bool:
    return parts.netloc.rpartition("@")[2] in insecure


def _permitted(host: str, port: int, rules: AddressRules) -> list[str]:
    with _translated(host):
        addresses = find_addresses(host, port)
    permitted = [address for address in addresses if rules.permit(address)]
    if not permitted:
        raise ImageRefused(
            f"The registry leads to {host}, which is at no address that images may come from: "
            "expected one of the public internet, or of the site's registry_networks."
        )
    return permitted[:_MAX_ADDRESSES]


@contextlib.contextmanager
def _translated(where: str) -> Iterator[None]:
    """Turn what goes wrong on a connection into our error."""
    try:
        yield
    except (OSError, HTTPException, UnicodeError) as error:
        reason = str(error) or type(error).__name__
        raise PullFailed(f"The registry {where} cannot be reached ({reason}).") from error
