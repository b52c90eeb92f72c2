"""Docker's rules for references."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.images import PATTERN, parse_image
from bridge.errors import InvalidField

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("debian", "docker.io/library/debian:latest"),
        ("debian:trixie", "docker.io/library/debian:trixie"),
        ("abacosamples/test", "docker.io/abacosamples/test:latest"),
        ("docker://abacosamples/test", "docker.io/abacosamples/test:latest"),
        ("docker.io/library/debian", "docker.io/library/debian:latest"),
        ("registry:5000/a/b:1", "registry:5000/a/b:1"),
        ("localhost/a", "localhost/a:latest"),
        ("ghcr.io/a/b/c", "ghcr.io/a/b/c:latest"),
        (f"debian@{DIGEST}", f"docker.io/library/debian@{DIGEST}"),
        (f"debian:1@{DIGEST}", f"docker.io/library/debian:1@{DIGEST}"),
    ],
)
def test_normal_form(text, normal):
    assert str(parse_image(text)) == normal
    assert str(parse_image(normal)) == normal


@pytest.mark.parametrize(
    "text",
    [
        "", "A", "a b", "a//b", "/a", "a/", "a:b:c", "a@sha256:12", "-a", "a\n", "a;b", "$(x)",
        "../a", "a/../b", "https://x/y", "a" * 600, "docker://", "file:///etc/passwd", "a:",
        "a@", ":a", "@a",
    ],
)  # fmt: skip
def test_what_is_no_reference(text):
    with pytest.raises(InvalidField, match="Invalid image reference"):
        parse_image(text)


NAMES = st.sampled_from(
    ["a", "a.b", "a.b_c", "a_b", "a__b", "a---b", "A", "a..b", "-a", "", "localhost"]
)
HOSTS = st.sampled_from(["", "h.io/", "H-1.x:5000/", "localhost/", "H/", "h:1/", "h:/", "a../"])
TAGS = st.sampled_from(["", ":1.0", ":", ":_", ":-", "@sha256:" + "0" * 64, "@x", ":1@sha256:0"])


@given(
    st.one_of(
        st.tuples(st.sampled_from(["", "docker://"]), HOSTS, NAMES, st.just("/"), NAMES, TAGS).map(
            "".join
        ),
        st.tuples(HOSTS, NAMES, TAGS).map("".join),
    )
)
def test_the_pattern_describes_what_is_parsed(text):
    try:
        parse_image(text)
    except InvalidField:
        assert not re.match(PATTERN, text)
    else:
        assert re.match(PATTERN, text)
