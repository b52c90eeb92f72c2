"""Reading a site file."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import ValidationError

from bridge.errors import SiteConfigError
from bridge.sites.model import Site


def load_site(path: Path) -> Site:
    """Return the site that `path` describes.

    Raises:
        SiteConfigError: the file cannot be read, is not TOML, or has mistakes; every mistake is
            listed with its table, key, what was found and what is expected.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SiteConfigError(f"{path}: cannot be read ({error.strerror}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SiteConfigError(f"{path}: not a TOML file: {error}.") from error
    try:
        return Site.model_validate(data)
    except ValidationError as error:
        lines = [
            f"{path}: {'.'.join(map(str, item['loc'])) or 'site'}: {item['msg']}"
            + (f" (found {item['input']!r})" if not isinstance(item["input"], dict) else "")
            for item in error.errors(include_url=False)
        ]
        raise SiteConfigError("\n".join(lines)) from error
