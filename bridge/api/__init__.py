"""Abaco's HTTP contract: paths, parsing, envelopes. One module per resource.

Door: `create_app`. A request opens one transaction, calls one service and shows what it returns;
JSON is spelled as the client expects in this room and nowhere below.
"""

from bridge.api.app import create_app

__all__ = ["create_app"]
