"""Where a request comes from."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from bridge.api.remote import remote_address, request_id

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("203.0.113.1", "", "203.0.113.1"),
        ("203.0.113.1", "198.51.100.7", "203.0.113.1"),  # no proxy of ours: it may say anything
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.7", "198.51.100.7"),  # the first one is the client's word
        ("10.0.0.1", "6.6.6.6, 198.51.100.7, 10.0.0.2", "198.51.100.7"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "<script>, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "secret", "10.0.0.1"),
        ("fd00::1", "2001:db8::9", "2001:db8::9"),
        ("::ffff:10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("", "198.51.100.7", ""),
        ("10.0.0.1", ",".join(["10.0.0.9"] * 1000), "10.0.0.9"),
    ],
)
def test_the_last_that_is_no_proxy_of_ours_counts(peer: str, forwarded: str, found: str) -> None:
    assert remote_address(peer, forwarded, TRUSTED) == found


@pytest.mark.parametrize(
    ("given", "peer", "is_taken"),
    [
        ("0b6f2a61-77", "10.0.0.1", True),
        ("0b6f2a61-77", "203.0.113.1", False),
        ("short", "10.0.0.1", False),
        ("with a space and more", "10.0.0.1", False),
        ("x" * 65, "10.0.0.1", False),
        ("", "10.0.0.1", False),
    ],
)
def test_a_proxy_may_name_a_request(given: str, peer: str, is_taken: bool) -> None:
    found = request_id(given, peer, TRUSTED)
    assert (found == given) is is_taken
    assert found
