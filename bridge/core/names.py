"""Names that users give to aliases and configs (abaco_contract.md 3.11, 3.12).

A word is an alias or an id by being found as one; what is refused here is only what could not
stand in a URL, or would be taken for another route there.
"""

from __future__ import annotations

from bridge.errors import InvalidField

MAX_NAME = 255

_ABACO_RESERVED = ("executions", "nonces", "logs", "messages", "adapters", "admin")
# The second half is not reserved in Abaco, where such an alias is made and can never be used: it
# collides with a route, and `v2` with the prefix /actors/v2.
RESERVED_ALIASES = (
    *_ABACO_RESERVED,
    "utilization",
    "search",
    "aliases",
    "configs",
    "registries",
    "v2",
)
RESERVED_CONFIGS = (*_ABACO_RESERVED, "utilization")

_FORBIDDEN_IN_CONFIGS = ":/?#[]@!$&'()*+,;= "
_FORBIDDEN_IN_ALIASES = '\\"' + _FORBIDDEN_IN_CONFIGS


def _pattern(forbidden: str) -> str:
    marks = "".join(f"\\{mark}" if mark in "\\]^-[" else mark for mark in forbidden)
    return f"^[^{marks}\\x00-\\x1f\\x7f-\\x9f]{{1,{MAX_NAME}}}$"


# What the two checks below take, as closely as a regular expression says it.
ALIAS_PATTERN = _pattern(_FORBIDDEN_IN_ALIASES)
CONFIG_PATTERN = _pattern(_FORBIDDEN_IN_CONFIGS)


def is_name(text: str) -> bool:
    """Whether there may be an alias or a config called `text`; asked before the database is."""
    return 0 < len(text) <= MAX_NAME and text.isprintable()


def check_alias(alias: str) -> None:
    """Refuse an alias that could not be addressed.

    Raises:
        InvalidField: says the word or the character, in Abaco's words.
    """
    _check(alias, "an alias", "alias", RESERVED_ALIASES, _FORBIDDEN_IN_ALIASES)


def check_config_name(name: str) -> None:
    """Refuse a config's name that could not be addressed.

    Raises:
        InvalidField: says the word or the character, in Abaco's words.
    """
    _check(name, "a config", "config", RESERVED_CONFIGS, _FORBIDDEN_IN_CONFIGS)


def _check(name: str, kind: str, noun: str, reserved: tuple[str, ...], forbidden: str) -> None:
    if name in reserved:
        raise InvalidField(
            f"{name} is a reserved word. The following reserved words cannot be used for {kind}: "
            f"{list(reserved)}."
        )
    for mark in forbidden:
        if mark in name:
            raise InvalidField(
                f"'{mark}' is a forbidden character. The following characters cannot be used for "
                f"{kind}: {list(forbidden)}."
            )
    if not is_name(name) or name in (".", ".."):
        raise InvalidField(
            f"Invalid {noun} description. Got the name {name[:64]!r}; expected 1 to {MAX_NAME} "
            "printable characters, and not '.' or '..', which are parts of paths."
        )
