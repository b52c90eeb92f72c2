"""Images: what the registry says of one, and its SIF in the cluster's cache.

Door: `resolve` (reference to digest and configuration) and `SifCache`.
"""

from bridge.containers.cache import SifCache
from bridge.containers.registry import Resolved, resolve

__all__ = ["Resolved", "SifCache", "resolve"]
