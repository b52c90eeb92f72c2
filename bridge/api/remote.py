"""Where a request comes from, and the id by which it is found again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from bridge.core.ids import new_id

_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{8,64}\Z")
_MOST_HOPS = 20

Network = IPv4Network | IPv6Network


def remote_address(peer: str, forwarded: str, trusted: Sequence[Network]) -> str:
    """Return the address that a request comes from.

    What X-Forwarded-For says is believed as far as those who wrote it are: each proxy adds whom it
    heard from at the end, so the last that no trusted proxy has is the one. Anybody can send a
    header; from those who are no trusted proxy it says nothing.

    Args:
        peer: the address of the connection's other end; empty for a Unix socket.
        forwarded: the header's value, all of them with commas between.
        trusted: networks of the site's own proxies.
    """
    found = peer
    for word in reversed(forwarded.split(",")[-_MOST_HOPS:]):
        if not is_trusted(found, trusted):
            return found
        address = _read(word.strip())
        if address is None:
            return found
        found = str(address)
    return found


def is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    """Whether the address is that of one of the site's proxies."""
    read = _read(address)
    return read is not None and any(
        read in network for network in trusted if network.version == read.version
    )


def request_id(given: str, peer: str, trusted: Sequence[Network]) -> str:
    """Return the id of a request: what a trusted proxy gave it, or a new one."""
    if _REQUEST_ID.match(given) and is_trusted(peer, trusted):
        return given
    return new_id()


def _read(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
