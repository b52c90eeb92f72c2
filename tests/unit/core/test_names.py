"""Names of aliases and configs."""

from __future__ import annotations

import pytest

from bridge.core.names import check_alias, check_config_name, is_name
from bridge.errors import InvalidField


@pytest.mark.parametrize(
    "name",
    ["prod", "a.b", "data-7", "Admin", "my-admin-tool", "logs2", "ü", "a%b", "x" * 255, "v22"],
)
def test_plain_names_are_fine(name):
    check_alias(name)
    check_config_name(name)


@pytest.mark.parametrize(
    "word",
    ["executions", "nonces", "logs", "messages", "adapters", "admin", "utilization", "search",
     "aliases", "configs", "v2"],
)  # fmt: skip
def test_reserved_words_are_no_aliases(word):
    with pytest.raises(InvalidField, match=f"^{word} is a reserved word"):
        check_alias(word)


@pytest.mark.parametrize("word", ["search", "aliases", "configs", "v2"])
def test_what_collides_as_an_alias_alone_is_a_fine_config(word):
    check_config_name(word)


@pytest.mark.parametrize("word", ["admin", "utilization", "logs"])
def test_reserved_words_are_no_configs(word):
    with pytest.raises(InvalidField, match=f"^{word} is a reserved word"):
        check_config_name(word)


@pytest.mark.parametrize("mark", list("\\\" :/?#[]@!$&'()*+,;="))
def test_forbidden_characters(mark):
    with pytest.raises(InvalidField, match="is a forbidden character"):
        check_alias(f"a{mark}b")
    if mark in '\\"':
        check_config_name(f"a{mark}b")
    else:
        with pytest.raises(InvalidField, match="is a forbidden character"):
            check_config_name(f"a{mark}b")


@pytest.mark.parametrize("name", ["", "x" * 256, ".", "..", "a\0b", "a\nb", "\ud800", "a\u202eb"])
def test_what_no_url_can_carry(name):
    for check in (check_alias, check_config_name):
        with pytest.raises(InvalidField, match="expected 1 to 255 printable characters"):
            check(name)
    assert is_name(name) is (name in (".", ".."))
