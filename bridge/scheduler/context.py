"""What every tick is handed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from bridge.auth import SecretBox
from bridge.clock import Clock
from bridge.db import Array, Database
from bridge.scheduler.sharing import PlanMemory
from bridge.services.queued import Gate, QueueCounts
from bridge.sessions import SessionPool, UserSession
from bridge.sites import Cluster, Site
from bridge.slurm import SlurmPort


def no_hook(point: str) -> None:
    """Do nothing; tests put a hook here that kills the process at a named point."""


@dataclass(frozen=True)
class SiteContext:
    """What ticks are handed that concern no cluster.

    Attributes:
        site: the whole site.
        database: what the API and the scheduler meet in.
        clock: the time.
        at: called with the name of each point at which a crash is tested.
        counts: what is known of the lengths of queues.
    """

    site: Site
    database: Database
    clock: Clock
    at: Callable[[str], None] = no_hook
    counts: QueueCounts = field(default_factory=QueueCounts)

    @property
    def gate(self) -> Gate:
        """What lets messages in."""
        return Gate(self.site, self.counts)


@dataclass(frozen=True)
class ClusterContext:
    """One cluster and the ways to it.

    Attributes:
        name: the cluster's name in the site file.
        site: the whole site.
        database: what the API and the scheduler meet in.
        sessions: sessions as its users.
        submitters: sessions as its users for submissions alone, whose sbatch may hang for minutes.
        observer: opens the bridge's own session.
        slurm: its Slurm.
        clock: the time.
        program: the node side's zipapp and its hash.
        submitting: arrays that a thread of this process submits at this moment, and their owners.
        hot: arrays that were given something just now, and until when they count as such.
        box: the site's keys for secret configs, where it has any.
        at: called with the name of each point at which a crash is tested.
        counts: what is known of the lengths of queues.
        memory: what planning remembers from round to round.
        harvested: when the journals of each array were read.
    """

    name: str
    site: Site
    database: Database
    sessions: SessionPool
    submitters: SessionPool
    observer: Callable[[], UserSession]
    slurm: SlurmPort
    clock: Clock
    program: tuple[bytes, str]
    submitting: dict[str, str] = field(default_factory=dict)
    hot: dict[str, float] = field(default_factory=dict)
    box: SecretBox | None = None
    at: Callable[[str], None] = no_hook
    counts: QueueCounts = field(default_factory=QueueCounts)
    memory: PlanMemory = field(default_factory=PlanMemory)
    harvested: dict[str, float] = field(default_factory=dict)

    @property
    def whole(self) -> SiteContext:
        """The site, of which this is one cluster."""
        return SiteContext(self.site, self.database, self.clock, self.at, self.counts)

    @property
    def cluster(self) -> Cluster:
        """The cluster's table of the site file."""
        return self.site.clusters[self.name]

    def session(self, array: Array) -> UserSession:
        """Return a session as the owner of `array`."""
        return self.sessions.session(array.login)

    def submitter(self, array: Array) -> UserSession:
        """Return a session as the owner of `array`, to submit it."""
        return self.submitters.session(array.login)

    def spool_root(self, login: str) -> str:
        """Return the directory of this account's spools on this cluster."""
        spool = self.cluster.spool.replace("{login}", login).replace("{username}", login)
        return spool.replace("{cluster}", self.name)

    def program_path(self, login: str) -> str:
        """Return where the zipapp of this release lies for this account's workers."""
        return f"{self.spool_root(login)}/node-{self.program[1][:16]}.pyz"
