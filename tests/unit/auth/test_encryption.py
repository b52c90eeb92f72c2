"""The keys of secrets: their file, their rotation, what a broken one says."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet

from bridge.auth import load_secret_box
from bridge.errors import ConfigsUnusable, SiteConfigError
from tests.factories.sites import make_site, write_encryption_keys

OLD, NEW = Fernet.generate_key(), Fernet.generate_key()


def box_of(directory, *keys):
    return load_secret_box(
        make_site(directory, encryption_key_file=write_encryption_keys(directory, *keys))
    )


def test_what_was_encrypted_comes_back(tmp_path):
    box = box_of(tmp_path, NEW)
    sealed = box.encrypt("grüße an alle\n")
    assert "an alle" not in sealed
    assert sealed.isascii()
    assert box.encrypt("grüße an alle\n") != sealed
    assert box.decrypt(sealed) == "grüße an alle\n"


def test_a_new_key_goes_to_the_top_and_old_secrets_stay_readable(tmp_path):
    old = box_of(tmp_path, OLD).encrypt("s")
    both = box_of(tmp_path, b"# since March", NEW, b"", OLD)
    assert both.decrypt(old) == "s"
    assert box_of(tmp_path, NEW).decrypt(both.encrypt("t")) == "t"


@pytest.mark.parametrize(
    "sealed", ["", "x", Fernet(OLD).encrypt(b"s").decode(), "\u00fc"], ids=range(4)
)
def test_what_no_key_made_is_refused(tmp_path, sealed):
    with pytest.raises(ConfigsUnusable, match="with a key that the site no longer has"):
        box_of(tmp_path, NEW).decrypt(sealed)


def test_a_site_without_a_key_has_no_box(tmp_path):
    assert load_secret_box(make_site(tmp_path, encryption_key_file=None)) is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no key"),
        (b"# none yet\n\n", "holds no key"),
        pytest.param(NEW + b"\nshort\n", "line 2 of .* is no key; expected 32 bytes", id="short"),
        (b"not base64 at all!\n", "line 1 of .* is no key"),
        (b"\xff\n", "holds more than ASCII"),
    ],
)
def test_a_broken_file_is_told(tmp_path, content, words):
    site = make_site(tmp_path)
    site.encryption_key_file.write_bytes(content)
    with pytest.raises(SiteConfigError, match=words) as error:
        load_secret_box(site)
    assert NEW.decode() not in error.value.message


def test_a_missing_file_is_told(tmp_path):
    site = make_site(tmp_path)
    site.encryption_key_file.unlink()
    with pytest.raises(SiteConfigError, match="cannot be read"):
        load_secret_box(site)


def test_a_file_that_everybody_may_read_is_refused(tmp_path):
    site = make_site(tmp_path)
    site.encryption_key_file.chmod(0o644)
    with pytest.raises(SiteConfigError, match=r"mode 0644.*expected 0600 or 0640"):
        load_secret_box(site)
    site.encryption_key_file.chmod(0o640)
    assert load_secret_box(site) is not None
