"""What a batch script asks for in its ``#SBATCH`` lines. Pure.

The rendered script is the one place that says what a job is; whatever does not read these lines
itself (slurmrestd, the fake) is told by way of this module. So a line that an administrator adds to
the template counts everywhere. Source: sbatch(1): lines count up to the first that is no comment.
"""

from __future__ import annotations

import re

from bridge.errors import SubmitRejected

_DIRECTIVE = re.compile(r"#SBATCH\s+--([a-z][a-z-]*)(?:=(\S*))?\s*\Z")


def read_directives(script: str) -> dict[str, str]:
    """Return the options by their long names; the value of one that has none is empty.

    Raises:
        SubmitRejected: this is no script, or a line is not of the form ``--name`` or
            ``--name=value``.
    """
    first, *lines = script.splitlines() or [""]
    if not first.startswith("#!"):
        raise SubmitRejected("Slurm refused the submission: this is no batch script")
    found = {}
    for line in lines:
        if line.strip() and not line.startswith("#"):
            break
        if not line.startswith("#SBATCH"):
            continue
        match = _DIRECTIVE.match(line)
        if match is None:
            raise SubmitRejected(
                f"The batch script has {line[:80]!r}; expected #SBATCH --name=value, unquoted."
            )
        found[match[1]] = match[2] or ""
    return found
