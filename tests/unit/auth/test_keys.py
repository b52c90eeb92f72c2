"""Keys are read once, at start; every mistake is told."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from bridge.auth.keyring import load_rings
from bridge.auth.keys import load_private_key, load_public_key
from bridge.auth.sign import sign_token
from bridge.errors import SiteConfigError
from tests.factories.sites import make_ec_key, make_key, write_keys, write_pair


def test_keys_by_tenant(site):
    assert {name: len(ring.keys()) for name, ring in load_rings(site).items()} == {
        "PHYSICS": 1,
        "BIOLOGY": 1,
    }


def test_every_bad_file_is_listed(site, tmp_path):
    (tmp_path / "physics.pub").unlink()
    (tmp_path / "biology.pub").write_text("no key")
    with pytest.raises(SiteConfigError) as error:
        load_rings(site)
    first, second = error.value.message.splitlines()
    assert first.startswith("tenants.PHYSICS.public_keys: ")
    assert first.endswith("physics.pub cannot be read (No such file or directory).")
    assert second.startswith("tenants.BIOLOGY.public_keys: ")
    assert second.endswith("biology.pub holds no public key in PEM.")


def test_the_key_says_the_algorithm(tmp_path):
    for name, key, algorithm in (
        ("rsa", make_key("physics"), "RS256"),
        ("ec", make_ec_key("physics"), "ES256"),
    ):
        public, private = write_pair(tmp_path, name, key)
        assert load_public_key(public).algorithm == algorithm
        assert load_private_key(private).algorithm == algorithm


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()],
    ids=["P-384", "Ed25519"],
)  # fmt: skip
def test_keys_of_no_use_here(tmp_path, key):
    public, private = write_pair(tmp_path, "odd", key)
    with pytest.raises(SiteConfigError, match=r"odd\.pub holds no RSA key of 1024 bits"):
        load_public_key(public)
    with pytest.raises(SiteConfigError, match=r"odd\.pem holds no RSA key of 1024 bits"):
        load_private_key(private)


def test_a_public_key_is_no_private_one(tmp_path):
    public, _ = write_keys(tmp_path, "physics")
    with pytest.raises(SiteConfigError, match="no unencrypted private key"):
        load_private_key(public)


def test_a_tenant_without_a_private_key_signs_nothing(site, clock):
    table = site.tenants["PHYSICS"].model_copy(update={"private_key": None})
    with pytest.raises(SiteConfigError, match=r"tenants\.PHYSICS\.private_key is not set"):
        sign_token(table, "PHYSICS", "alice", [], 60, clock)
