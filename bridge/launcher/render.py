"""Rendering the batch script from launcher_templates/."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bridge.launcher import filters
from bridge.launcher.context import ArrayContext


def templates_folder() -> Path:
    """Return where the templates are: in the wheel inside this room, else beside the package."""
    packed = Path(__file__).parent / "_templates"
    return packed if packed.is_dir() else Path(__file__).parents[2] / "launcher_templates"


@cache
def _environment() -> Environment:
    environment = Environment(  # noqa: S701 - shell, not HTML: every value passes a filter
        loader=FileSystemLoader(templates_folder()),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        sh=filters.sh, directive=filters.directive, slurm_time=filters.slurm_time
    )
    return environment


def render_script(context: ArrayContext) -> str:
    """Return the batch script.

    Raises:
        ValueError: a value does not pass its filter.
    """
    values = {f.name: getattr(context, f.name) for f in dataclasses.fields(context)}
    return _environment().get_template("array_task.sh.j2").render(values)
