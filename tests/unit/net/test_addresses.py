"""Which addresses webhooks may be sent to."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from bridge.net.addresses import AddressRules


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_the_public_internet_is_open(address: str) -> None:
    assert AddressRules().permit(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.0.1",
        "169.254.169.254", "100.64.0.1", "198.18.0.1", "192.0.2.1", "224.0.0.1", "239.1.1.1",
        "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1",
        "fd12:3456::1", "fec0::1", "ff02::1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b:1::a00:1", "2002:7f00:1::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2", "::127.0.0.1",
    ],
)  # fmt: skip
def test_what_is_not_public_is_closed(address: str) -> None:
    assert not AddressRules().permit(address)


def test_the_site_opens_and_closes_networks() -> None:
    rules = AddressRules(
        allowed=[ip_network("10.1.0.0/16"), ip_network("fd00::/8")],
        refused=[ip_network("10.1.9.0/24"), ip_network("93.184.215.0/24")],
    )
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "fd00::1", "8.8.8.8"):
        assert rules.permit(address), address
    for address in ("10.2.0.1", "10.1.9.1", "::ffff:10.1.9.1", "93.184.215.14", "127.0.0.1"):
        assert not rules.permit(address), address
