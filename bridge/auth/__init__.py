"""Who is asking: tokens and nonces, their keys, identities; and the keys of secrets at rest.

Door: `Authenticator` (headers to `Identity`), `redeem_nonce`, `sign_token` and `load_secret_box`.
Nothing is kept between requests but keys, and the tokens that they have verified.
"""

from bridge.auth.authenticate import Authenticator, carries_token
from bridge.auth.encryption import SecretBox, load_secret_box
from bridge.auth.identity import Identity
from bridge.auth.nonces import redeem_nonce
from bridge.auth.sign import sign_token

__all__ = [
    "Authenticator",
    "Identity",
    "SecretBox",
    "carries_token",
    "load_secret_box",
    "redeem_nonce",
    "sign_token",
]
