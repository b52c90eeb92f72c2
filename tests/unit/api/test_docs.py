"""The page at /docs: served whole by the bridge, and kept from asking anybody else."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from bridge.api.paths import PREFIXES


class Addresses(HTMLParser):
    """Collects what a page loads."""

    def __init__(self):
        super().__init__()
        self.found = []
        self.inline = []

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.found += [named[key] for key in ("src", "href") if key in named]
        if tag == "script" and "src" not in named:
            self.inline.append(tag)


@pytest.fixture
def page(app):
    return app.test_client().get("/docs")


@pytest.fixture
def addresses(page):
    parser = Addresses()
    parser.feed(page.text)
    assert not parser.inline
    return parser.found


def test_the_page_is_for_everybody(page):
    assert page.status_code == 200
    assert page.content_type == "text/html; charset=utf-8"


def test_no_address_points_outside(app, addresses):
    assert addresses
    client = app.test_client()
    for address in addresses:
        assert address.startswith("/docs/")
        response = client.get(address)
        assert response.status_code == 200
        assert len(response.data) > 100
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        if response.mimetype == "text/css":
            for url in re.findall(r"url\((.*?)\)|@import\s+(\S+)", response.text):
                assert url[0].strip("\"'").startswith("data:")


def test_the_page_reads_the_documents_and_asks_no_validator(app):
    start = app.test_client().get("/docs/start.js").text
    assert '"validatorUrl": null' in start
    assert "://" not in start
    for prefix in PREFIXES:
        url = f"/openapi.json?prefix={prefix}"
        assert url in start
        assert app.test_client().get(url).json["openapi"].startswith("3.0")


def test_the_policy_lets_nothing_else_through(page, site):
    policy = dict(
        part.strip().split(" ", 1) for part in page.headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["connect-src"] == f"'self' {site.public_url}"
    assert policy["frame-ancestors"] == "'none'"
    assert page.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", ["index.html", "..", "%2e%2e%2f__init__.py", "swagger-ui.js"])
def test_other_files_of_the_package_are_not_served(app, name):
    response = app.test_client().get(f"/docs/{name}")
    assert response.status_code == 404
    assert response.json["status"] == "error"
