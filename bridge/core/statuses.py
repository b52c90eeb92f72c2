"""Lifecycle words, spelled as Abaco spells them (abaco_contract.md 4.1 to 4.3)."""

from __future__ import annotations

from enum import StrEnum


class ActorStatus(StrEnum):
    """Status of an actor."""

    SUBMITTED = "SUBMITTED"  # registered, its image is not in the cluster's cache yet
    READY = "READY"  # the image is there
    ERROR = "ERROR"  # the image cannot be had; statusMessage says why
    SHUTTING_DOWN = "SHUTTING_DOWN"  # deleted, its executions are being ended


class ExecutionStatus(StrEnum):
    """Status of an execution. COMPLETE and ERROR are final."""

    SUBMITTED = "SUBMITTED"  # queued
    RUNNING = "RUNNING"  # its container was started
    COMPLETE = "COMPLETE"  # its container ran, whatever its exit code
    ERROR = "ERROR"  # the platform could not run it, or lost it

    @property
    def is_final(self) -> bool:
        """Whether nothing can follow."""
        return self in (ExecutionStatus.COMPLETE, ExecutionStatus.ERROR)


class ArrayStatus(StrEnum):
    """Status of one planned job array, in this order; ENDED is final."""

    PLANNED = "PLANNED"  # in the database with its token; Slurm may or may not know it yet
    SUBMITTED = "SUBMITTED"  # Slurm acknowledged it: its job id is known
    CLOSING = "CLOSING"  # no worker of it is left, or it is lost: what it left is taken back
    ENDED = "ENDED"  # every one of its executions is settled


class ImageStatus(StrEnum):
    """Status of an image in a cluster's cache."""

    REQUESTED = "REQUESTED"
    READY = "READY"
    ERROR = "ERROR"
    EVICTED = "EVICTED"  # it was there, and is pulled again when a message wants it


class WorkerStatus(StrEnum):
    """Status of a worker, Abaco's spelling."""

    REQUESTED = "REQUESTED"  # Slurm has not started it yet
    READY = "READY"
    BUSY = "BUSY"
    SHUTTING_DOWN = "SHUTTING_DOWN"


class Level(StrEnum):
    """Permission levels, lowest first; a higher one implies the lower (abaco_contract.md 2.4)."""

    NONE = "NONE"
    READ = "READ"
    EXECUTE = "EXECUTE"
    UPDATE = "UPDATE"

    @property
    def rank(self) -> int:
        """Its place in the order, from 0."""
        return _RANKS[self]

    def allows(self, wanted: Level) -> bool:
        """Whether holding this level permits what needs `wanted`."""
        return self.rank >= wanted.rank


_RANKS = {level: rank for rank, level in enumerate(Level)}
