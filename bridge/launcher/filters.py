"""The filters through which every value of a template passes."""

from __future__ import annotations

import re
import shlex

# A directive is not shell: nothing in it can be quoted safely, so only plain words pass.
_DIRECTIVE = re.compile(r"[A-Za-z0-9_./:@+=-]+\Z")


def sh(value: object) -> str:
    """Return `value` quoted for a POSIX shell."""
    text = str(value)
    if "\n" in text or "\0" in text:
        raise ValueError(f"a line break or NUL in a script value: {text[:80]!r}")
    return shlex.quote(text)


def directive(value: object) -> str:
    """Return `value` for an #SBATCH line; refuse all but plain words.

    Raises:
        ValueError: the value has a character that sbatch or its parser could read otherwise.
    """
    text = str(value)
    if not _DIRECTIVE.match(text):
        raise ValueError(f"not a plain word, so not for an #SBATCH line: {text[:80]!r}")
    return text


def slurm_time(seconds: int) -> str:
    """Return `seconds` as the value of Slurm's ``--time``, always ``D-HH:MM:SS``.

    Raises:
        ValueError: `seconds` is not positive; zero would ask for no limit at all.

    Source: sbatch(1), option ``--time``.
    """
    if seconds <= 0:
        raise ValueError(f"a time limit of {seconds} s")
    minutes, rest_s = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}-{hours:02}:{minutes:02}:{rest_s:02}"
