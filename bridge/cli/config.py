"""`bridge config`: the site file, looked at before it is in force."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sized
from pathlib import Path
from typing import NoReturn

import click
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from bridge.auth.check import check_keys
from bridge.errors import SiteConfigError
from bridge.settings import read_settings
from bridge.sites.explain import explain
from bridge.sites.files import check_files, check_writers, named_files
from bridge.sites.load import SiteFile, read_site_file

file_argument = click.argument(
    "file", required=False, type=click.Path(path_type=Path, dir_okay=False)
)


@click.group()
def config() -> None:
    """Look at a site file: the one that BRIDGE_SITE names, or FILE."""


@config.command("check")
@file_argument
@click.option(
    "--files",
    "with_files",
    is_flag=True,
    help="Look at the files that it names too: for the host where the bridge runs.",
)
def check_site(file: Path | None, with_files: bool) -> None:
    """Report every mistake of a site file; exit status 1 if there is any.

    One line each: file, line, key, what was found and what is expected. Warnings are for what does
    no harm but is unlikely to be meant.
    """
    path = file or read_settings().site_file
    try:
        found = read_site_file(path)
    except SiteConfigError as error:
        _refuse(error.message)
    for warning in found.warnings:
        click.echo(found.line(warning), err=True)
    if with_files:
        mistakes = list(_files(found))
        if mistakes:
            _refuse("\n".join(mistakes))
    site = found.site
    click.echo(
        f"{path}: site {site.name}, {_count(site.clusters, 'cluster')}, "
        f"{_count(site.tenants, 'tenant')}: no mistakes"
        + (f", {_count(found.warnings, 'warning')}" if found.warnings else "")
    )


@config.command("show")
@file_argument
def show_site(file: Path | None) -> None:
    """Print every key's effective value and where it comes from, as a site file.

    Secrets are in files of their own; their paths are shown, never what is in them.
    """
    path = file or read_settings().site_file
    found = read_site_file(path)
    click.echo(f"# {path}, {'argument' if file else 'BRIDGE_SITE'}")
    for name, show in (("BRIDGE_DATABASE", _without_password), ("BRIDGE_LOG_LEVEL", str)):
        if name in os.environ:
            click.echo(f"# {name} = {show(os.environ[name])}, environment")
    click.echo(explain(found), nl=False)


def _refuse(lines: str) -> NoReturn:
    click.echo(lines, err=True)
    count = lines.count("\n") + 1
    click.echo(f"{count} mistake{'s' if count > 1 else ''}", err=True)
    sys.exit(1)


def _files(found: SiteFile) -> Iterator[str]:
    """Yield the lines about files; what is in one is looked at where it can be read."""
    try:
        check_writers(found.path)
    except SiteConfigError as error:
        yield error.message
    mistakes = list(check_files(found.site))
    yield from (found.line(one) for one in mistakes)
    told = {one.loc for one in mistakes}
    known = [f"{one.path} cannot be read" for one in named_files(found.site) if one.loc in told]
    for line in check_keys(found.site):
        if not any(words in line for words in known):
            yield f"{found.path}: {line}"


def _without_password(url: str) -> str:
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "no URL, not shown"


def _count(things: Sized, word: str) -> str:
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"
