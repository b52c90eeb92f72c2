"""One POST to a webhook: to a checked address, signed, bounded in every direction.

The standard library's HTTP client on a socket of our own, since each thing that a comfortable
client does by itself is a way around the check: the name is resolved once and the connection made
to the address that was checked, no redirect is followed, no proxy asked, nothing kept alive.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from socket import socket
from threading import Event
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from bridge import __version__
from bridge.errors import SiteConfigError, WebhookFailed, WebhookRefused
from bridge.net import AddressRules, cut_off_after, find_addresses, open_connection, tls
from bridge.sites import Site, read_secret

# How many links and webhooks led to a request; the bridge ends a chain that comes back to it.
HOPS_HEADER = "X-Abaco-Hops"
READ_S = 10.0  # for one piece of the answer
DEADLINE_S = 20.0  # for all of it, from the connection on
MAX_ANSWER_BYTES = 4096
MAX_URL_LENGTH = 4096
_MAX_ADDRESSES = 3
_PORTS = {"http": 80, "https": 443}
# An answer of these says that trying again may help; the others of 400 to 499 that it does not.
_TRY_AGAIN = frozenset({408, 425, 429})


@dataclass(frozen=True)
class Target:
    """Where a URL leads."""

    scheme: str
    host: str
    port: int
    path: str  # with the query, as it is sent

    @property
    def netloc(self) -> str:
        """Host and port as a Host header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True)
class WebhookSender:
    """Posts events.

    Attributes:
        own_urls: of the bridge itself, whose API webhooks may lead to whatever its address.
        addresses: where else they may.
        keys: by tenant, what its events are signed with.
    """

    own_urls: Sequence[str]
    addresses: AddressRules = field(default_factory=AddressRules)
    keys: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def post(
        self, url: str, payload: Mapping[str, Any], tenant: str, hops: int, timestamp: int
    ) -> None:
        """Post `payload` to `url`; return when it was taken.

        Args:
            url: as the actor names it.
            payload: with its ``_abaco_event_id``.
            tenant: whose key signs it.
            hops: links and webhooks that led to it.
            timestamp: seconds since 1970, signed with the body.

        Raises:
            WebhookRefused: it is not to be tried again; says why.
            WebhookFailed: it may be; says why.
        """
        target = parse_url(url)
        body = json.dumps(payload).encode()
        event_id = str(payload["_abaco_event_id"])
        headers = {
            "Host": target.netloc,
            "Content-Type": "application/json",
            "User-Agent": f"abaco-bridge/{__version__}",
            "Connection": "close",
            "X-Abaco-Event-Id": event_id,
            "Idempotency-Key": event_id,  # the bridge itself, and others, queue it once
            HOPS_HEADER: str(hops),
        }
        if tenant in self.keys:
            headers["X-Abaco-Signature"] = sign(self.keys[tenant], timestamp, body)
        status = _exchange(target, self._addresses_of(target), body, headers)
        _judge(status)

    def _addresses_of(self, target: Target) -> list[str]:
        try:
            addresses = find_addresses(target.host, target.port)
        except (OSError, UnicodeError) as error:
            raise WebhookFailed(f"Its host {target.host} has no address: {error}.") from error
        if not self._is_ours(target):
            addresses = [address for address in addresses if self.addresses.permit(address)]
        if not addresses:
            raise WebhookRefused(
                f"Its host {target.host} is at no address that webhooks may be sent to: expected "
                "one of the public internet, or of a network that the site allows."
            )
        return addresses[:_MAX_ADDRESSES]

    def _is_ours(self, target: Target) -> bool:
        """Whether `target` is the bridge's own API, which everybody may reach anyway."""
        path = unquote(target.path.partition("?")[0])
        for own in map(parse_url, self.own_urls):
            base = own.path.rstrip("/")
            if (target.scheme, target.host, target.port) == (own.scheme, own.host, own.port):
                return ".." not in path and path.startswith(
                    (f"{base}/actors/", f"{base}/v3/actors/")
                )
        return False


def parse_url(url: str) -> Target:
    """Return where `url` leads.

    Raises:
        WebhookRefused: it is no URL to which anything could be posted; says why, without the
            URL, in which there may be a nonce.
    """
    if len(url) > MAX_URL_LENGTH or any(c.isspace() or not c.isprintable() for c in url):
        raise WebhookRefused(
            f"It is no URL: expected up to {MAX_URL_LENGTH} characters without white space."
        )
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or ""), parts.port
        if ":" not in host:
            host = host.encode("idna").decode()
    except ValueError as error:  # a UnicodeError among them
        raise WebhookRefused("It is no URL: its host or port cannot be read.") from error
    if parts.scheme not in _PORTS:
        raise WebhookRefused(f"Its scheme is {parts.scheme[:20]!r}: expected http or https.")
    if not host or "%" in host or port == 0:
        raise WebhookRefused("It is no URL: it names no host and port to connect to.")
    if parts.username is not None or parts.password is not None:
        raise WebhookRefused("It has a user name or password in it, which is not sent anywhere.")
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    query = f"?{quote(parts.query, safe='/%:@!$&()*+,;=~?[]')}" if parts.query else ""
    return Target(parts.scheme, host, port or _PORTS[parts.scheme], path + query)


def make_sender(site: Site) -> WebhookSender:
    """Return what posts the events of `site`.

    Raises:
        SiteConfigError: lists every key file that cannot be read or is too short.
    """
    keys, mistakes = {}, []
    for name, tenant in site.tenants.items():
        if tenant.webhook_key_file is not None:
            try:
                keys[name] = read_secret(
                    tenant.webhook_key_file, f"tenants.{name}.webhook_key_file"
                )
            except SiteConfigError as error:
                mistakes.append(error.message)
    if mistakes:
        raise SiteConfigError("\n".join(mistakes))
    rules = AddressRules(site.webhook_networks, site.webhook_refused_networks)
    return WebhookSender((site.public_url, site.callback_url), rules, keys)


def sign(key: bytes, timestamp: int, body: bytes) -> str:
    """Return the value of ``X-Abaco-Signature``: HMAC-SHA256 over ``<timestamp>.<body>``."""
    digest = hmac.new(key, f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


def _exchange(
    target: Target, addresses: Sequence[str], body: bytes, headers: Mapping[str, str]
) -> int:
    """Send one POST to the first of `addresses` that answers; return the answer's status.

    Raises:
        WebhookFailed: whatever goes wrong on the connection; or it takes too long in all.
    """
    try:
        with contextlib.ExitStack() as stack:
            raw = stack.enter_context(open_connection(addresses, target.port))
            late = stack.enter_context(cut_off_after(raw, DEADLINE_S))
            try:
                return _post(stack, raw, target, body, headers, late)
            except (OSError, HTTPException, UnicodeError):
                if not late.is_set():
                    raise
    except (OSError, HTTPException, UnicodeError) as error:
        reason = str(error) or type(error).__name__
        raise WebhookFailed(f"{target.netloc}: {reason}.") from error
    raise WebhookFailed(f"{target.netloc}: no whole answer within {DEADLINE_S:.0f} seconds.")


def _post(
    stack: contextlib.ExitStack,
    raw: socket,
    target: Target,
    body: bytes,
    headers: Mapping[str, str],
    late: Event,
) -> int:
    """Return the answer's status.

    Raises:
        OSError: whatever goes wrong; `late` tells whether it was that the time is over.
    """
    raw.settimeout(READ_S)
    connection = HTTPConnection(target.host, target.port)
    connection.sock = raw
    if target.scheme == "https":
        connection.sock = tls().wrap_socket(raw, server_hostname=target.host)
    stack.callback(connection.close)
    connection.request("POST", target.path, body, headers)
    response = connection.getresponse()
    if late.is_set():  # its headers are a half that looks whole
        raise TimeoutError
    with contextlib.suppress(OSError, HTTPException):  # its status is what counts
        response.read(MAX_ANSWER_BYTES)
    return response.status


def _judge(status: int) -> None:
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        raise WebhookRefused(f"It answered {status}, a redirect, and none is followed.")
    if 400 <= status < 500 and status not in _TRY_AGAIN:
        raise WebhookRefused(f"It answered {status}.")
    raise WebhookFailed(f"It answered {status}.")
