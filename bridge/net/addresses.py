"""Which addresses the bridge may be sent to by what its users write.

A webhook's URL is chosen by whoever owns the actor, an image's registry too, and the scheduler
stands inside the site's network: without this, it could be sent to whatever trusts that network
(server-side request forgery). So it goes to addresses of the public internet, and to networks that
the site names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

# What a translator on the way would turn into an IPv4 address that is not seen here: NAT64 (RFC
# 6052, RFC 8215), 6to4 and Teredo, and the deprecated IPv4-compatible form.
_TRANSLATED = tuple(
    ip_network(text)
    for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96")
)


@dataclass(frozen=True)
class AddressRules:
    """The site's own networks.

    Attributes:
        allowed: reachable although they are not public.
        refused: not reachable although they are public; counts more than `allowed`.
    """

    allowed: Sequence[Network] = ()
    refused: Sequence[Network] = ()

    def permit(self, text: str) -> bool:
        """Whether one may connect to the address `text`, as `getaddrinfo` writes it."""
        if "%" in text:  # an address with a zone is on the link
            return False
        address = ip_address(text)
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if _is_in(address, self.refused):
            return False
        return _is_in(address, self.allowed) or _is_public(address)


def _is_public(address: Address) -> bool:
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not (isinstance(address, IPv6Address) and address.is_site_local)
        and not _is_in(address, _TRANSLATED)
    )


def _is_in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address.version == net.version and address in net for net in networks)
