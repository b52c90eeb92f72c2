"""What `bridge config check` says of keys."""

from __future__ import annotations

import json

from bridge.auth.check import check_keys
from tests.factories.sites import make_ec_key, make_jwk, make_key, with_tenant, write_pair


def test_a_pair_that_belongs_together(site, tmp_path):
    assert list(check_keys(site)) == []
    private = write_pair(tmp_path, "ec", make_ec_key("a"))[1]
    (line,) = check_keys(with_tenant(site, private_key=private))
    assert line.startswith("tenants.PHYSICS.private_key: the public half of ")
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [make_jwk(make_ec_key("a"), kid="a")]}))
    assert list(check_keys(with_tenant(site, private_key=private, jwks_file=path))) == []


def test_what_an_issuer_has_is_not_asked(site, tmp_path):
    private = write_pair(tmp_path, "other", make_key("other"))[1]
    url = "https://issuer.invalid/keys"
    assert list(check_keys(with_tenant(site, private_key=private, jwks_url=url))) == []


def test_a_key_that_the_tenant_does_not_take(site):
    (line,) = check_keys(with_tenant(site, algorithms=("ES256",)))
    assert line.endswith("signs with RS256, which algorithms does not have")


def test_files_that_hold_nothing(site, tmp_path):
    (tmp_path / "empty").write_text("")
    lines = list(check_keys(with_tenant(site, jwks_file=tmp_path / "empty")))
    assert lines == [
        f"tenants.PHYSICS.jwks_file: {tmp_path}/empty: it is no key set: expected JSON, "
        '{"keys": [...]}.'
    ]
