"""What Slurm's words of refusal mean: the same sentences come from every way of asking it.

They are those of slurm_strerror(3), recorded in tests/recordings.
"""

from __future__ import annotations

import re

from bridge.errors import PolicyLimit, SlurmError, SlurmUnavailable, SubmitRejected

# No answer came from slurmctld: it may have acted all the same.
_UNCLEAR = re.compile(
    r"Socket timed out|Unable to contact slurm|Connection (refused|reset|timed out)"
    r"|Zero Bytes were transmitted|Transport endpoint|slurm_receive_msg|communication|Slurmctld"
    r"|backup mode|in standby",
    re.IGNORECASE,
)
# ... when this request goes beyond what one job may ever have, and waiting would not help: names
# of reasons such as QOSMaxWallDurationPerJobLimit and AssocMaxCpuPerJobLimit.
_NEVER = re.compile(r"PerJob|PerNode|MinCpuNotSatisfied|time limit is invalid")
# ... and when something else than the request is in the way for now: how much is there already, a
# partition closed for maintenance, a controller without room.
_FOR_NOW = re.compile(
    r"limit|MaxSubmit|QOSMax|AssocMax|AssocGrp|QOSGrp|temporarily|inactive or drain"
    r"|not available now|I/O error writing",
    re.IGNORECASE,
)


def is_unclear(said: str) -> bool:
    """Whether Slurm may have acted although it says that something went wrong."""
    return _UNCLEAR.search(said) is not None


def submit_error(program: str, said: str) -> SlurmError:
    """Return what a submission's failure means; `program` is what was asked."""
    if is_unclear(said):
        return SlurmUnavailable(f"{program} got no clear answer: {said}")
    if _FOR_NOW.search(said) and not _NEVER.search(said):
        return PolicyLimit(f"Slurm refuses for now: {said}")
    return SubmitRejected(f"Slurm refused the submission: {said}")
