"""Whatever a site file holds, it is a site or a report: never another error."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from bridge.errors import SiteConfigError
from bridge.sandbox.images import CHECKOUT
from bridge.sites.lines import find_lines
from bridge.sites.load import read_site_file
from bridge.sites.mistakes import Loc
from bridge.sites.parse import parse_site

TEXT = (CHECKOUT / "site_configs" / "centre.toml").read_text(encoding="utf-8")
VALUES = st.recursive(
    st.none().map(lambda _: "text")
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.dates()
    | st.sampled_from(["/x", "{login}", "https://[", "10.0.0.0/8", "birch", "root", "a@b"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)


def places(value: object, loc: Loc = ()) -> list[Loc]:
    """Return every place in `value` that a key or number leads to."""
    found = [loc] if loc else []
    if isinstance(value, dict):
        found += [place for key in value for place in places(value[key], (*loc, key))]
    if isinstance(value, list):
        found += [place for n, one in enumerate(value) for place in places(one, (*loc, n))]
    return found


PLACES = places(tomllib.loads(TEXT))


@given(st.sampled_from(PLACES), VALUES, st.booleans())
@example(("clusters",), [], False)
@example(("clusters",), [], True)
@example(("tenants",), {"PORTALS": {"cluster": [], "mounts": [[]]}}, False)
@example(("tenants", "PORTALS", "mounts"), [{"container_path": 5}, {}], False)
def test_any_value_at_any_key(place: Loc, value: object, gone: bool) -> None:
    data: Any = tomllib.loads(TEXT)
    table = data
    for part in place[:-1]:
        table = table[part]
    if gone:
        del table[place[-1]]
    else:
        table[place[-1]] = value
    site, found = parse_site(data)
    assert (site is None) == any(not one.is_warning for one in found)
    assert all(one.key and one.text for one in found)


@given(
    st.integers(0, len(TEXT)),
    st.integers(0, 30),
    st.text("[]{}=.,\"'#\n\\ a1-:", max_size=12),
)
def test_any_change_of_the_text(tmp_path_factory: Any, at: int, count: int, new: str) -> None:
    text = TEXT[:at] + new + TEXT[at + count :]
    path: Path = tmp_path_factory.getbasetemp() / "anything.toml"
    path.write_text(text, encoding="utf-8")
    try:
        found = read_site_file(path)
    except SiteConfigError as error:
        lines = error.message.splitlines()
    else:
        lines = [found.line(one) for one in found.warnings]
        assert found.lines.keys() >= set(places(tomllib.loads(text)))
    assert all(line.startswith(f"{path}:") for line in lines)


@given(st.integers(0, len(TEXT)), st.text("[]{}=.,\"'#\n\\ a1-:", max_size=12))
def test_every_key_has_a_line(at: int, new: str) -> None:
    text = TEXT[:at] + new + TEXT[at:]
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = find_lines(text)
    assert lines.keys() >= set(places(data))
    assert all(0 < line <= text.count("\n") + 1 for line in lines.values())
