"""A stock agavepy client of a bridge that speaks plain HTTP on a port of its own.

agavepy makes https URLs of whatever server it is given, and sends its credentials to a host without
a port only; a bridge behind TLS on port 443 needs none of this.
"""

import json
from urllib.parse import urlsplit

from agavepy.agave import Agave, load_resource


def connect(url, **credentials):
    """Return a client; `credentials` are Agave's: `token`, `use_nonce`, `jwt`..."""
    resources = json.loads(json.dumps(load_resource(url)).replace("https://", "http://"))
    ag = Agave(api_server=url, resources=resources, **credentials)
    ag.host = urlsplit(url).hostname
    ag.refresh_aris()
    return ag
