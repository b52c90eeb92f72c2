from __future__ import annotations

from pathlib import Path

from tests.factories.sites import make_site


def test_containers_call_back_where_clients_do_unless_the_site_says_otherwise(
    tmp_path: Path,
) -> None:
    assert make_site(tmp_path).callback_url == "https://bridge.example.org"
    inner = make_site(tmp_path, container_url="http://login:8080")
    assert inner.callback_url == "http://login:8080"
    assert inner.public_url == "https://bridge.example.org"
