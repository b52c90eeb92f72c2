"""A site: its clusters, tenants and limits, described in one TOML file.

Door: `load_site` and the models of bridge.sites.model.
"""

from bridge.sites.load import load_site
from bridge.sites.model import Cluster, Limits, Mount, Site, Tenant
from bridge.sites.secrets import read_secret
from bridge.sites.ways import Slurmrestd

__all__ = ["Cluster", "Limits", "Mount", "Site", "Slurmrestd", "Tenant", "load_site", "read_secret"]
