"""Who is asking: tokens and nonces, their keys, identities; and the keys of secrets at rest.

Door: `Authenticator` (headers to `Identity`), `sign_token` and `load_secret_box`.
Nothing is kept between requests but keys, which are read once at start.
"""

from bridge.auth.authenticate import Authenticator
from bridge.auth.encryption import SecretBox, load_secret_box
from bridge.auth.identity import Identity
from bridge.auth.sign import sign_token

__all__ = ["Authenticator", "Identity", "SecretBox", "load_secret_box", "sign_token"]
