"""Tokens made to be believed by mistake: each is refused, and with our own error."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bridge.auth import Authenticator, sign_token
from bridge.auth.tokens import MAX_CHARS
from bridge.errors import AuthenticationError, BridgeError
from tests.factories.rows import START
from tests.factories.sites import make_ec_key, make_jwk, make_key, with_tenant, write_pair

NOW = int(START.timestamp())
USER = {"tapis/username": "alice", "tapis/tenant_id": "PHYSICS", "exp": NOW + 3600}
EVERYONE = ["Internal/everyone"]


def encode(part) -> str:
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(claims=USER, key="physics", **header):
    return jwt.encode(claims, make_key(key), algorithm="RS256", headers=header)


def sign_ec(claims=USER, key="physics", **header):
    return jwt.encode(claims, make_ec_key(key), algorithm="ES256", headers=header)


def hmac_under(secret: bytes, alg="HS256", **header) -> str:
    signed = f"{encode({'alg': alg, 'typ': 'JWT', **header})}.{encode(USER)}"
    return f"{signed}.{encode(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


def public(form, kind=PublicFormat.SubjectPublicKeyInfo, key=None) -> bytes:
    return (key or make_key("physics")).public_key().public_bytes(form, kind)


@pytest.fixture
def both(site, tmp_path):
    """PHYSICS signs with an RSA key and with a P-256 key, each in a PEM file."""
    pem = write_pair(tmp_path, "ec", make_ec_key("physics"))[0]
    return with_tenant(site, public_keys=(*site.tenants["PHYSICS"].public_keys, pem))


@pytest.fixture
def identify(both, clock):
    authenticator = Authenticator(both, clock)

    def call(token, header="X-Tapis-Token"):
        return authenticator.authenticate([(header, token)])

    return call


@pytest.mark.parametrize("make", [sign, sign_ec])
def test_each_key_with_its_own_algorithm(identify, make):
    assert identify(make()).username == "alice"


ROTTEN = {
    "none": lambda: f"{encode({'alg': 'none'})}.{encode(USER)}.",
    "None": lambda: f"{encode({'alg': 'None'})}.{encode(USER)}.",
    "none, with a signature": lambda: f"{encode({'alg': 'none'})}.{encode(USER)}.{'A' * 342}",
    "no alg": lambda: f"{encode({'typ': 'JWT'})}.{encode(USER)}.{'A' * 342}",
    "alg a list": lambda: f"{encode({'alg': ['RS256']})}.{encode(USER)}.{'A' * 342}",
    "HS256 under the PEM": lambda: hmac_under(public(Encoding.PEM)),
    "HS256 under the PEM, stripped": lambda: hmac_under(public(Encoding.PEM).strip()),
    "HS256 under the DER": lambda: hmac_under(public(Encoding.DER)),
    "HS256 under nothing": lambda: hmac_under(b""),
    "HS256 under the EC key": lambda: hmac_under(public(Encoding.PEM, key=make_ec_key("physics"))),
    "called RS256, an HMAC": lambda: hmac_under(public(Encoding.PEM), alg="RS256"),
    "called ES256, signed RS256": lambda: _renamed(sign(), "ES256"),
    "called RS256, signed ES256": lambda: _renamed(sign_ec(), "RS256"),
    "PS256": lambda: jwt.encode(USER, make_key("physics"), algorithm="PS256"),
    "RS384": lambda: jwt.encode(USER, make_key("physics"), algorithm="RS384"),
    "another tenant's key": lambda: sign(key="biology"),
    "a stranger's P-256 key": lambda: sign_ec(key="stranger"),
    "ES256 of zeros": lambda: f"{encode({'alg': 'ES256'})}.{encode(USER)}.{encode(bytes(64))}",
    "its own key inside": lambda: sign(key="stranger", jwk=make_jwk(make_key("stranger"))),
    "its own key elsewhere": lambda: sign(
        key="stranger", jku="http://127.0.0.1:1/keys", x5u="http://127.0.0.1:1/cert"
    ),
    "kid a path": lambda: sign(key="stranger", kid="../../dev/null"),
    "kid not a text": lambda: f"{encode({'alg': 'RS256', 'kid': 7})}.{encode(USER)}.AAAA",
    "crit": lambda: sign(crit=["b64"], b64=False),
    "crit unknown": lambda: sign(crit=["urgent"], urgent=True),
    "five parts": lambda: sign() + ".a.b",
    "encrypted": lambda: f"{encode({'alg': 'RSA-OAEP', 'enc': 'A256GCM'})}.a.b.c.d",
    "claims a list": lambda: f"{encode({'alg': 'RS256'})}.{encode([1])}.AAAA",
    "deep": lambda: f"{encode({'alg': 'RS256'})}.{encode(b'[' * 11_000)}.AAAA",
    "deep header": lambda: f"{encode(b'[' * 11_000)}.{encode(USER)}.AAAA",
    "huge": lambda: sign({**USER, "x": "y" * MAX_CHARS}),
    "many digits": lambda: f"{encode({'alg': 'RS256'})}.{encode(b'9' * 10_000)}.AAAA",
    "not ASCII": lambda: sign() + "\u00e9",
    "NUL": lambda: sign().replace(".", "\0.", 1),
    "nothing": lambda: " ",
}


def _renamed(token: str, alg: str) -> str:
    return f"{encode({'alg': alg, 'typ': 'JWT'})}.{token.partition('.')[2]}"


@pytest.mark.parametrize("header", ["X-Tapis-Token", "X-Jwt-Assertion-Physics"])
@pytest.mark.parametrize("name", ROTTEN)
def test_a_rotten_token(identify, name, header):
    with pytest.raises(AuthenticationError, match=r"^Invalid JWT\."):
        identify(ROTTEN[name](), header)


def test_algorithms_that_the_site_leaves_out(both, clock):
    only = Authenticator(with_tenant(both, algorithms=("ES256",)), clock)
    assert only.authenticate([("X-Tapis-Token", sign_ec())]).username == "alice"
    with pytest.raises(AuthenticationError, match="alg"):
        only.authenticate([("X-Tapis-Token", sign())])


@pytest.mark.parametrize(
    ("claims", "says"),
    [
        ({"exp": None}, "never expires"),
        ({"exp": NOW}, "has expired"),
        ({"exp": -1}, "has expired"),
        ({"exp": float("nan")}, "not a number"),
        ({"exp": float("inf")}, "not a number"),
        ({"exp": str(NOW + 60)}, "not a number"),
        ({"exp": [NOW + 60]}, "not a number"),
        ({"nbf": NOW + 1}, "not valid yet"),
        ({"nbf": "now"}, "not a number"),
        ({"tapis/username": "alice\0"}, "not a Unix login name"),
        ({"tapis/username": "al\u0456ce"}, "not a Unix login name"),
        ({"tapis/username": ["alice"]}, "names no user"),
        ({"tapis/tenant_id": "PHYSICS\0"}, "no tenant"),
        ({"tapis/tenant_id": ["PHYSICS"]}, "not a name"),
        ({"http://wso2.org/claims/role": 7}, "neither a text nor a list"),
        ({"http://wso2.org/claims/role": [["Internal/abaco-admin"]]}, "neither a text nor a list"),
    ],
)
def test_claims_that_do_not_hold(identify, claims, says):
    with pytest.raises(AuthenticationError, match=says):
        identify(sign({**USER, **claims}))


def test_clocks_may_differ_by_as_much_as_the_site_says(both, clock):
    lenient = Authenticator(with_tenant(both, clock_skew_s=30), clock)

    def hold(**times):
        headers = [("X-Tapis-Token", sign({**USER, **times}))]
        try:
            lenient.authenticate(headers)
            lenient.authenticate(headers)  # out of the cache
        except AuthenticationError:
            return False
        return True

    assert hold(exp=NOW - 29)
    assert not hold(exp=NOW - 30)
    assert hold(nbf=NOW + 30)
    assert not hold(nbf=NOW + 31)


def test_an_expired_token_is_not_replayed_out_of_the_cache(both, clock):
    authenticator = Authenticator(with_tenant(both, clock_skew_s=30), clock)
    headers = [("X-Tapis-Token", sign({**USER, "exp": NOW + 60}))]
    authenticator.authenticate(headers)
    clock.push(89)
    authenticator.authenticate(headers)
    clock.push(1)
    with pytest.raises(AuthenticationError, match="expired"):
        authenticator.authenticate(headers)


def test_issuer_and_audience_where_the_site_says_them(both, clock):
    strict = Authenticator(with_tenant(both, issuer="https://i.example", audience="bridge"), clock)
    good = {**USER, "iss": "https://i.example", "aud": ["other", "bridge"]}

    def identify(**claims):
        return strict.authenticate([("X-Tapis-Token", sign({**good, **claims}))])

    assert identify().username == "alice"
    assert identify(aud="bridge").username == "alice"
    for wrong in ({"iss": "https://i.example/"}, {"iss": ""}, {"aud": "bridges"}, {"aud": []},
                  {"aud": None}, {"aud": {"bridge": 1}}, {"aud": [["bridge"]]}):  # fmt: skip
        with pytest.raises(AuthenticationError, match=r"\((iss|aud)\)"):
            identify(**wrong)


def test_a_token_of_one_tenant_at_another(identify, both):
    named = sign()
    with pytest.raises(AuthenticationError):
        identify(named, "X-Jwt-Assertion-Biology")
    nameless = sign({key: value for key, value in USER.items() if key != "tapis/tenant_id"})
    assert identify(nameless, "X-Jwt-Assertion-Physics").tenant == "PHYSICS"
    with pytest.raises(AuthenticationError):
        identify(nameless, "X-Jwt-Assertion-Biology")


def test_two_tenants_with_one_issuer_are_told_apart(both, clock):
    """The key verifies at both: what the token says of its tenant decides."""
    keys = both.tenants["PHYSICS"].public_keys
    shared = Authenticator(with_tenant(both, "BIOLOGY", public_keys=keys), clock)
    for header, token in (
        ("X-Jwt-Assertion-Biology", sign()),
        ("X-Jwt-Assertion-Physics", sign({**USER, "tapis/tenant_id": "BIOLOGY"})),
    ):
        with pytest.raises(AuthenticationError, match="It is for the tenant"):
            shared.authenticate([(header, token)])
    biology = sign({**USER, "tapis/tenant_id": "biology"})
    assert shared.authenticate([("X-Tapis-Token", biology)]).tenant == "BIOLOGY"


def test_two_headers_that_name_a_tenant_each(identify, both, clock):
    headers = [("X-Jwt-Assertion-Physics", sign()), ("X-Jwt-Assertion-Biology", sign())]
    for order in (headers, headers[::-1]):
        with pytest.raises(AuthenticationError, match="found two"):
            Authenticator(both, clock).authenticate(order)


def test_a_header_that_came_twice(identify):
    """WSGI puts a comma between the two."""
    with pytest.raises(AuthenticationError):
        identify(f"{sign()},{sign()}")


OIDC = {
    "username": ["preferred_username", "sub"],
    "roles": ["groups"],
    "tenant": ["organisation"],
    "login": "unix",
    "uid": "uid_number",
    "groups": "gids",
}


@pytest.fixture
def oidc(both, clock):
    """PHYSICS has an issuer with words of its own, who says which account it is."""
    mapped = with_tenant(both, claims=OIDC, accounts="claims", issuer="https://i.example")
    authenticator = Authenticator(mapped, clock)
    base = {"preferred_username": "alice@example.org", "iss": "https://i.example", "unix": "al",
            "exp": NOW + 60, "groups": ["Internal/everyone", "x,y"]}  # fmt: skip

    def identify(header="Authorization", **claims):
        value = sign({**base, **claims})
        return authenticator.authenticate([(header, f"Bearer {value}")])

    return identify


def test_words_of_the_sites_own(oidc):
    found = oidc(organisation="physics", uid_number=2001, gids=[5, 6])
    assert (found.tenant, found.username) == ("PHYSICS", "alice")
    assert found.roles == ("Internal/everyone", "x,y")
    assert found.claimed == {"login": "al", "uid": 2001, "gid": None, "groups": [5, 6]}


def test_an_issuer_of_one_tenant_names_it(oidc):
    assert oidc().tenant == "PHYSICS"
    with pytest.raises(AuthenticationError, match="names no tenant"):
        oidc(iss="https://other.example")


def test_the_usual_words_mean_nothing_then(oidc):
    with pytest.raises(AuthenticationError):
        oidc(**{"preferred_username": None, "tapis/username": "root_admin"})
    assert oidc(**{"http://wso2.org/claims/role": "Internal/abaco-admin"}).is_admin is False


@pytest.mark.parametrize(
    "claims",
    [{"unix": None, "uid_number": 5}, {"unix": "../x"}, {"unix": "-x"}, {"unix": 7}, {"unix": ""},
     {"uid_number": "5"}, {"uid_number": 0}, {"uid_number": -1}, {"uid_number": True},
     {"uid_number": 2**31}, {"gids": 5}, {"gids": [0]}, {"gids": ["5"]}],
)  # fmt: skip
def test_what_is_no_account(oidc, claims):
    with pytest.raises(AuthenticationError, match="account"):
        oidc(**claims)


def test_a_tenant_that_is_not_believed_says_nothing_of_accounts(both, clock):
    doubted = Authenticator(with_tenant(both, claims=OIDC), clock)
    token = sign({"sub": "alice", "organisation": "PHYSICS", "unix": "root", "exp": NOW + 60})
    assert doubted.authenticate([("X-Tapis-Token", token)]).claimed is None


@pytest.mark.parametrize("key", [make_key("physics"), make_ec_key("physics")], ids=["RSA", "EC"])
def test_the_sites_own_issuer_signs_what_the_tenant_takes(both, clock, tmp_path, key):
    private = write_pair(tmp_path, "own", key)[1]
    for changes in ({}, {"claims": OIDC, "issuer": "https://i.example", "audience": "bridge"}):
        mapped = with_tenant(both, private_key=private, **changes)
        roles = [*EVERYONE, "Internal/abaco-admin"]
        token = sign_token(mapped.tenants["PHYSICS"], "PHYSICS", "alice", roles, 60, clock)
        found = Authenticator(mapped, clock).authenticate([("X-Tapis-Token", token)])
        assert (found.tenant, found.username, found.roles) == ("PHYSICS", "alice", tuple(roles))


def test_no_token_is_signed_that_would_not_be_taken(both, clock):
    only = with_tenant(both, algorithms=("ES256",)).tenants["PHYSICS"]
    with pytest.raises(BridgeError, match="signs with RS256, which its algorithms do not have"):
        sign_token(only, "PHYSICS", "alice", EVERYONE, 60, clock)
