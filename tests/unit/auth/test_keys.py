"""Keys are read once, at start; every mistake is told."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from bridge.auth.keys import load_private_key, load_public_keys
from bridge.auth.sign import sign_token
from bridge.errors import SiteConfigError
from tests.factories.sites import write_keys


def test_keys_by_tenant(site):
    assert {name: len(keys) for name, keys in load_public_keys(site).items()} == {
        "PHYSICS": 1,
        "BIOLOGY": 1,
    }


def test_every_bad_file_is_listed(site, tmp_path):
    (tmp_path / "physics.pub").unlink()
    (tmp_path / "biology.pub").write_text("no key")
    with pytest.raises(SiteConfigError) as error:
        load_public_keys(site)
    first, second = error.value.message.splitlines()
    assert first.startswith("tenants.PHYSICS.public_keys: ")
    assert first.endswith("physics.pub cannot be read (No such file or directory).")
    assert second.startswith("tenants.BIOLOGY.public_keys: ")
    assert second.endswith("biology.pub holds no public key in PEM.")


def test_only_rsa(site, tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "physics.pub").write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(SiteConfigError, match="holds no RSA key"):
        load_public_keys(site)
    private = tmp_path / "ec.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(SiteConfigError, match="holds no RSA key"):
        load_private_key(private)


def test_a_public_key_is_no_private_one(tmp_path):
    public, _ = write_keys(tmp_path, "physics")
    with pytest.raises(SiteConfigError, match="no unencrypted private key"):
        load_private_key(public)


def test_a_tenant_without_a_private_key_signs_nothing(site, clock):
    table = site.tenants["PHYSICS"].model_copy(update={"private_key": None})
    with pytest.raises(SiteConfigError, match=r"tenants\.PHYSICS\.private_key is not set"):
        sign_token(table, "PHYSICS", "alice", [], 60, clock)
