"""Who is asking: tokens, their keys, identities.

Door: `Authenticator` (headers to `Identity`) and `sign_token`. Nothing is kept between requests
but the tenants' public keys, which are read once at start.
"""

from bridge.auth.authenticate import Authenticator
from bridge.auth.identity import Identity
from bridge.auth.sign import sign_token

__all__ = ["Authenticator", "Identity", "sign_token"]
