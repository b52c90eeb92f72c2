"""Another site file for a scheduler that runs.

What a tick reads of the site it reads from its context, so new contexts are all that it takes: the
next tick has them. Arrays on the cluster keep what they were submitted with; sessions stay open.
What is fixed when the scheduler starts (which clusters there are, how they are reached, whom the
spawner may become) needs a restart, and a file that changes it is refused whole: half of a file in
force is what no admin could reason about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bridge.auth import load_secret_box
from bridge.errors import SiteConfigError
from bridge.scheduler.context import ClusterContext
from bridge.sites import Site
from bridge.sites.changes import find_fixed


def renew_contexts(contexts: Sequence[ClusterContext], site: Site) -> list[ClusterContext]:
    """Return `contexts` with `site` in place of the site that they have.

    Raises:
        SiteConfigError: it changes what is fixed, and names it; or a file of keys cannot be used.
    """
    fixed = find_fixed(contexts[0].site, site)
    if fixed:
        raise SiteConfigError(
            f"{', '.join(fixed)}: changed, which only a restart of the scheduler can take over"
        )
    box = load_secret_box(site)
    return [replace(context, site=site, box=box) for context in contexts]
