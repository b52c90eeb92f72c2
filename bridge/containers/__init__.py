"""Images: what the registry says of one, and its SIF in the cluster's cache.

The bridge downloads by itself, to checked addresses, what it has counted and compared with its
digests (`resolve`, `SifCache.fetch`); Apptainer converts what is there, without the network and
without knowing any login. A SIF is taken as it is: from a registry, or from a directory of the
cluster (`open_local`); `verify_sif` tells whether a tenant's keyring vouches for it.
"""

from bridge.containers.cache import SifCache, Stored
from bridge.containers.convert import verify_sif
from bridge.containers.http import Access, Login
from bridge.containers.local import open_local
from bridge.containers.resolve import Resolved, resolve
from bridge.containers.sif import read_sif

__all__ = [
    "Access",
    "Login",
    "Resolved",
    "SifCache",
    "Stored",
    "open_local",
    "read_sif",
    "resolve",
    "verify_sif",
]
