"""An actor's description as it is registered and updated: fields, types, defaults.

Source: abaco_contract.md 3.1, 3.2.

What a user may not set (`status`, `uid`, `owner`, `revision`...) is no field here and is ignored,
unlike in Abaco, where some of it was a hole (Appendix B).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from bridge.core import fields as read
from bridge.core.batch import KEYS, SCHEMA, parse_batch
from bridge.core.environment import check_name, check_value
from bridge.core.images import PATTERN, parse_image
from bridge.errors import BridgeError, InvalidField

_MEMORY = re.compile(r"(-1|[0-9]{1,15}[bkmg]?)\Z", re.IGNORECASE)
_HINT_MARKS = "\"'{}[]"
_MAX_IMAGE = 480  # with docker.io/library/ and :latest it still fits its column


class _Missing:
    """The field was not sent; null is something else."""


MISSING = _Missing()


def _read_image(value: object) -> str:
    text = read.read_text(value)
    if not text or len(text) > _MAX_IMAGE:
        raise ValueError(f"expected 1 to {_MAX_IMAGE} characters")
    parse_image(text)
    return text


def _read_type(value: object) -> str:
    if value not in ("none", "bin", "json"):
        raise ValueError("expected none, bin or json")
    return str(value)


# Abaco's hint of an actor whose users wait for its answers: one of its workers is kept for longer.
SYNC_HINT = "sync"


def _read_hints(value: object) -> list[str]:
    hints = read.read_texts(value)
    for hint in hints:
        for mark in _HINT_MARKS:
            if mark in hint:
                raise ValueError(
                    "Hints must be simple stings or numbers, no lists or dicts. "  # Abaco's text
                    f"Error character: {mark}"
                )
    return hints


def _read_memory(value: object) -> str:
    text = read.read_text(value)
    if not _MEMORY.match(text):
        raise ValueError("expected Docker's form, such as 512m or 3g, or -1 for no limit")
    return text


def _read_workers(value: object) -> int:
    number = read.read_integer(value)
    if not 1 <= number < 2**31:
        raise ValueError("expected an integer from 1")
    return number


def _read_cpus(value: object) -> int:
    number = read.read_integer(value)
    if number < 1 and number != -1:
        raise ValueError("expected nanoCPUs from 1, or -1 for no limit")
    return number


def _read_lifetime(value: object) -> int:
    number = read.read_integer(value)
    if not 1 <= number < 2**31:
        raise ValueError("expected seconds from 1")  # -1 makes Abaco drop logs at once (4.9)
    return number


def _read_environment(value: object) -> dict[str, str]:
    source = "default_environment"
    environment = {}
    for name, item in read.read_object(value).items():
        text = read.read_text(item)
        check_name(name, source, by_caller=False)
        check_value(name, text, source)
        environment[name] = text
    return environment


# What the readers above take, in JSON schema's words.
_SCHEMAS: dict[Callable[[object], Any], dict[str, Any]] = {
    _read_image: {"pattern": PATTERN, "maxLength": _MAX_IMAGE},
    _read_type: {"enum": ["none", "bin", "json"]},
    _read_hints: {"items": {"type": "string", "pattern": r"^[^\"'{}\[\]]*$"}},
    _read_memory: {"pattern": "^(-1|[0-9]{1,15}[bkmgBKMG]?)$"},
    _read_workers: {"minimum": 1, "maximum": 2**31 - 1},
    _read_cpus: {"minimum": -1, "maximum": 2**63 - 1, "not": {"enum": [0]}},
    _read_lifetime: {"minimum": 1, "maximum": 2**31 - 1},
    parse_batch: SCHEMA,
}


def _about(
    reader: Callable[[object], Any], text: str, *, nullable: bool = False, many: bool = False
) -> dict[str, Any]:
    return {
        "reader": reader,
        "help": text,
        "nullable": nullable,
        "many": many,
        "schema": _SCHEMAS.get(reader, {}),
    }


@dataclass(frozen=True, kw_only=True)
class ActorDescription:
    """What a user says of an actor. Each field knows how it is read and what it is for."""

    image: str = field(
        metadata=_about(_read_image, "Reference to image on docker hub for this actor.")
    )
    name: str | None = field(
        default=None,
        metadata=_about(read.read_text, "User defined name for this actor.", nullable=True),
    )
    description: str = field(
        default="", metadata=_about(read.read_text, "Description of this actor")
    )
    stateless: bool = field(
        default=True,
        metadata=_about(read.read_boolean, "Whether the actor stores private state."),
    )
    type: str = field(
        default="none",
        metadata=_about(
            _read_type, "Return type (none, bin, json) for this actor. Default is none."
        ),
    )
    link: str = field(
        default="",
        metadata=_about(
            read.read_text, "Actor identifier of actor to link this actor's events too."
        ),
    )
    webhook: str = field(
        default="", metadata=_about(read.read_text, "URL to publish this actor's events to.")
    )
    hints: list[str] = field(
        default_factory=list,
        metadata=_about(
            _read_hints, "Hints for personal tagging or Abaco special hints", many=True
        ),
    )
    token: bool | None = field(
        default=None,
        metadata=_about(
            read.read_boolean, "Whether this actor requires an OAuth access token.", nullable=True
        ),
    )
    privileged: bool = field(
        default=False,
        metadata=_about(read.read_boolean, "Whether this actor runs in privileged mode."),
    )
    use_container_uid: bool = field(
        default=False,
        metadata=_about(
            read.read_boolean, "Whether this actor runs as the UID set in the container image."
        ),
    )
    run_as_executor: bool = field(
        default=False,
        metadata=_about(
            read.read_boolean,
            "Whether this actor's executions run as the user who sent their message.",
        ),
    )
    batch: dict[str, Any] | None = field(
        default=None,
        metadata=_about(
            parse_batch,
            f"What this actor asks of Slurm, a JSON object of {', '.join(KEYS)}.",
            nullable=True,
        ),
    )
    default_environment: dict[str, str] = field(
        default_factory=dict,
        metadata=_about(
            _read_environment, "A dictionary of default environmental variables and values."
        ),
    )
    max_workers: int | None = field(
        default=None,
        metadata=_about(
            _read_workers, "How many workers this actor is allowed at the same time.", nullable=True
        ),
    )
    mem_limit: str | None = field(
        default=None,
        metadata=_about(
            _read_memory, "maximum amount of memory this actor can use.", nullable=True
        ),
    )
    max_cpus: int | None = field(
        default=None,
        metadata=_about(
            _read_cpus,
            "Maximum number of CPUs (nanoCPUs) this actor will have available to it.",
            nullable=True,
        ),
    )
    queue: str | None = field(
        default=None,
        metadata=_about(read.read_text, "The command channel that this actor uses.", nullable=True),
    )
    log_ex: int | None = field(
        default=None,
        metadata=_about(
            _read_lifetime,
            "Amount of time, in seconds, after which logs will expire",
            nullable=True,
        ),
    )
    cron_schedule: str | None = field(
        default=None,
        metadata=_about(read.read_text, "yyyy-mm-dd hh + <number> <unit of time>", nullable=True),
    )


@dataclass(frozen=True, kw_only=True)
class ActorUpdate(ActorDescription):
    """The whole description anew, and what only a PUT can say. An actor keeps its `name`."""

    cron_on: bool = field(
        default=False, metadata=_about(read.read_boolean, "Whether cron is on or off.")
    )
    force: bool = field(
        default=False,
        metadata=_about(
            read.read_boolean, "Whether to start anew on the image, even if it is the same."
        ),
    )


def parse_description(
    get: Callable[[str, bool], object], spell: Callable[[str], str]
) -> ActorDescription:
    """Return the description that a request gives.

    A null means null where the field can be, and the default elsewhere.

    Args:
        get: gives the value of a field (its snake_case name) as it was sent, or MISSING; every
            value of a repeated field, if its second argument is true.
        spell: gives a field's name as this client writes it, for errors.

    Raises:
        InvalidField: names the field as the client writes it, and what was expected.
    """
    description = ActorDescription(**_read_values(ActorDescription, get, spell))
    _check_together(description, spell)
    return description


def parse_update(get: Callable[[str, bool], object], spell: Callable[[str], str]) -> ActorUpdate:
    """Return what a PUT asks for, as `parse_description` does; a name is passed over.

    Unlike in Abaco, the word ``False`` of a form is false for `force` too (1.7).

    Raises:
        InvalidField: names the field as the client writes it, and what was expected.
    """
    change = ActorUpdate(**_read_values(ActorUpdate, get, spell, without="name"))
    _check_together(change, spell)
    if change.cron_on and not change.cron_schedule:
        text = f"It needs {spell('cron_schedule')}, which a PUT without it resets."
        raise _invalid(spell("cron_on"), text)
    return change


def _read_values(
    kind: type[ActorDescription],
    get: Callable[[str, bool], object],
    spell: Callable[[str], str],
    without: str = "",
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for item in fields(kind):
        about = item.metadata
        sent = MISSING if item.name == without else get(item.name, about["many"])
        if sent is MISSING or (sent is None and not about["nullable"]):
            continue
        try:
            values[item.name] = None if sent is None else about["reader"](sent)
        except (ValueError, BridgeError) as error:
            raise _invalid(spell(item.name), f"{about['help']} {error}") from error
    if "image" not in values:
        about = fields(kind)[0].metadata
        raise _invalid("image", f"{about['help']} It is required.")
    return values


def _check_together(description: ActorDescription, spell: Callable[[str], str]) -> None:
    """Refuse fields that do not go with each other."""
    if not description.stateless and description.max_workers:
        raise InvalidField("Invalid actor description: stateful actors can only have 1 worker.")
    if description.use_container_uid and description.run_as_executor:
        both = f"{spell('use_container_uid')} and {spell('run_as_executor')}"
        raise InvalidField(f"Cannot set both {both} as true")


def _invalid(name: str, text: str) -> InvalidField:
    return InvalidField(f"Invalid actor description: { ({name: text})!r}")
