"""Integration: one real neighbour."""

from tests.cluster import cluster, sandbox

__all__ = ["cluster", "sandbox"]
