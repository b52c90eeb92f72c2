"""Patterns of `.like`: the same as Python's `re` finds, and never slow."""

from __future__ import annotations

import random
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from bridge.core.patterns import MAX_PATTERN, matches, parse_pattern, translate

ATOMS = st.sampled_from(
    ["a", "b", "c", "é", ".", "[ab]", "[^a]", "[a-c]", r"\d", r"\W", r"[\w-]", r"[^\D1]", "^", "$"]
)
BOUNDS = st.sampled_from(["", "", "", "*", "+", "?", "*?", "{2}", "{1,}", "{0,2}"])


def joined(parts):
    return "".join(atom + (bound if atom not in "^$" else "") for atom, bound in parts)


PATTERNS = st.recursive(
    st.lists(st.tuples(ATOMS, BOUNDS), max_size=4).map(joined),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("|".join),
        st.tuples(inner, st.sampled_from(["", "*", "+", "?", "{1,2}"])).map(
            lambda both: f"({both[0]}){both[1]}"
        ),
        st.tuples(inner, inner).map("".join),
    ),
    max_leaves=4,
).filter(lambda pattern: len(pattern) <= 60)
TEXTS = st.text(alphabet="abcé1 -", max_size=8)


@settings(max_examples=500, deadline=None)
@given(PATTERNS, TEXTS)
def test_what_re_finds_is_found(pattern, subject):
    assert matches(pattern, subject) is bool(re.search(pattern, subject, re.ASCII))


@pytest.mark.postgres
def test_postgresql_finds_the_same(postgres_database):
    with postgres_database.engine.connect() as connection:
        query = text("SELECT :subject ~ :pattern")

        @settings(max_examples=200, deadline=None)
        @given(PATTERNS, TEXTS)
        def check(pattern, subject):
            sent = {"subject": subject, "pattern": translate(parse_pattern(pattern))}
            assert connection.execute(query, sent).scalar() is matches(pattern, subject)

        check()


@pytest.mark.parametrize(
    ("pattern", "subject"),
    [
        (r"^docker\.io/.+:1\.2$", "docker.io/x/y:1.2"),
        (r"a\|b", "a|b"),
        ("[]]", "]"),
        ("[a-]", "-"),
        (r"[\d.]+", "1.2"),
        ("x{2,3}", "xx"),
        ("", "anything"),
        ("a|", ""),
        (r"\t[\x2d]".replace(r"\x2d", "-"), "\t-"),
        ("日.語", "日本語"),
    ],
)
def test_is_found(pattern, subject):
    assert matches(pattern, subject)


@pytest.mark.parametrize(
    ("pattern", "subject"),
    [
        ("A", "a"),
        ("a.b", "a\nb"),
        ("^b", "a\nb"),
        ("a$", "a\nb"),
        (r"\d", "\N{ARABIC-INDIC DIGIT ONE}"),
        ("x{3}", "xx"),
    ],
)
def test_is_not_found(pattern, subject):
    assert not matches(pattern, subject)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a(", r"at character 3, its end, expected '\)'"),
        ("a)", r"at character 2, '\)', expected no '\)'"),
        ("*", r"at character 1, '\*', expected something"),
        ("a**", "expected something that can be repeated"),
        ("^*", "expected something that can be repeated"),
        ("(?=a)", r"a plain group"),
        ("(?i)a", r"a plain group"),
        (r"(a)\1", r"at character 5, '1', expected one of"),
        (r"\bword", "expected one of"),
        ("[a", "its end, expected more"),
        ("[z-a]", "from one character to a later one"),
        (r"[a-\d]", "from one character to a later one"),
        ("a{1,99}", "up to 50"),
        ("a{3,2}", "bounds in order"),
        ("a{x}", "{m}, {m,} or {m,n}"),
        ("a{}", "{m}, {m,} or {m,n}"),
        ("a{2", "{m}, {m,} or {m,n}"),
        ("((a{50}){50}){50}", "too many repeats"),
        ("(" * 21 + ")" * 21, "nested up to 20"),
        ("a" * (MAX_PATTERN + 1), f"at most {MAX_PATTERN} characters"),
        ("\\", "its end, expected more"),
    ],
)
def test_is_refused(pattern, expected):
    with pytest.raises(ValueError, match=expected):
        parse_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+$", "(a|a)*b", "(a|aa)+$", ".*.*.*.*=", "(.*a){10}x", "^(([a-z])+.)+[A-Z]([a-z])+$"],
)
def test_patterns_that_hang_other_engines_do_not_hang_this_one(pattern):
    began = time.process_time()
    assert not matches(pattern, "a" * 100_000 + "!")
    assert time.process_time() - began < 5


def test_a_text_that_takes_too_many_steps_is_given_up():
    """2^41 states: the pattern asks what was 41 characters ago, in a text without order."""
    subject = "".join(random.Random(1).choices("ab", k=300_000))
    began = time.process_time()
    with pytest.raises(ValueError, match="too many steps"):
        matches("a.{40}c", subject)
    assert time.process_time() - began < 10
