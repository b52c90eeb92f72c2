"""From headers to an identity: contract 2.2, 2.3, clients.md 0.11."""

from __future__ import annotations

import base64
import json
from datetime import timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.auth import Authenticator, authenticate, known, sign_token
from bridge.auth.identity import Identity
from bridge.auth.keys import PublicKey
from bridge.auth.known import Known, KnownTokens, key_of
from bridge.auth.tokens import TokenRules, normalise_token, read_claims
from bridge.errors import AuthenticationError, BridgeError, PermissionDenied
from bridge.sites.identity import TAPIS_TENANT
from tests.factories.rows import START
from tests.factories.sites import make_key, make_site, write_keys

WSO2_USER = "http://wso2.org/claims/enduser"
WSO2_ROLES = "http://wso2.org/claims/role"


@pytest.fixture
def authenticator(site, clock):
    return Authenticator(site, clock)


LATER = int(START.timestamp()) + 3600


def sign(claims, key="physics", **named):
    """Sign with an RSA key; the token holds for an hour unless the claims say otherwise."""
    return jwt.encode({"exp": LATER, **claims}, make_key(key), algorithm="RS256", **named)


def keys_of(*names):
    """Return what finds the keys of these names, whatever a token calls its own."""
    keys = [PublicKey(make_key(name).public_key(), "RS256") for name in names]
    return lambda _kid: keys


def sign_as_gateway(claims):
    """Sign as the gateways of Abaco's time did, and as its test suite's files are written.

    Padding stays in header and payload and is signed, the signature is in the standard alphabet,
    and eight characters of junk follow it.
    """
    header = base64.urlsafe_b64encode(b'{"typ":"JWT","alg":"RS256"} ')
    body = json.dumps(claims).encode()
    payload = base64.urlsafe_b64encode(body + b" " * (1 - len(body) % 3))
    signed = header + b"." + payload
    signature = base64.b64encode(make_key("physics").sign(signed, PKCS1v15(), SHA256()))
    return (signed + b"." + signature).decode() + "[\\r][\\n]"


def test_abacos_header_names_the_tenant_in_any_case(authenticator):
    token = sign({WSO2_USER: "testuser@carbon.super", WSO2_ROLES: "a,Internal/everyone"})
    for name in ("X-Jwt-Assertion-PHYSICS", "x-jwt-assertion-physics", "X-JWT-ASSERTION-Physics"):
        found = authenticator.authenticate([("Host", "x"), (name, token)])
        assert (found.tenant, found.username) == ("PHYSICS", "testuser")
        assert found.roles == ("a", "Internal/everyone")
        assert found.jwt_header_name == "X-Jwt-Assertion-Physics"


def test_a_token_as_the_old_gateways_made_them(authenticator):
    token = sign_as_gateway({WSO2_USER: "jdoe@carbon.super", "exp": 1498149547205})
    header, payload, signature = token.split(".")
    assert header.endswith("=") or payload.endswith("=")
    assert signature.endswith("=[\\r][\\n]")
    found = authenticator.authenticate([("X-Jwt-Assertion-Physics", token)])
    assert found.username == "jdoe"
    assert found.roles == ("Internal/everyone",)


@pytest.mark.parametrize(
    ("name", "prefix"),
    [("Authorization", "Bearer "), ("authorization", "bearer "), ("X-Tapis-Token", "")],
)
def test_other_headers_take_the_tenant_from_the_token(authenticator, name, prefix):
    token = sign({"tapis/username": "alice", "tapis/tenant_id": "physics"})
    found = authenticator.authenticate([(name, prefix + token)])
    assert (found.tenant, found.username, found.jwt_header_name) == ("PHYSICS", "alice", "")


def test_abacos_header_counts_before_the_others(authenticator):
    headers = [
        ("Authorization", "Bearer junk"),
        ("X-Jwt-Assertion-Physics", sign({"tapis/username": "alice"})),
    ]
    assert authenticator.authenticate(headers).username == "alice"


@pytest.mark.parametrize(
    "headers", [[], [("Authorization", "Basic eDp5")], [("X-Tapis-Token", "")]]
)
def test_without_a_credential(authenticator, headers):
    with pytest.raises(AuthenticationError, match=r"^No JWT or nonce provided\.$"):
        authenticator.authenticate(headers)


def unsigned(claims):
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}."


def signed_with_the_public_key(claims):
    """Make the classic forgery: HMAC under the public key's own text."""
    import hashlib
    import hmac

    public = make_key("physics").public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=")
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
    signature = hmac.new(pem, header + b"." + payload, hashlib.sha256).digest()
    parts = [header, payload, base64.urlsafe_b64encode(signature).rstrip(b"=")]
    return b".".join(parts).decode()


USER = {"tapis/username": "alice", "tapis/tenant_id": "PHYSICS", "exp": LATER}


@pytest.mark.parametrize(
    "make",
    [
        lambda: unsigned(USER),
        lambda: signed_with_the_public_key(USER),
        lambda: sign(USER, key="biology"),
        lambda: sign(USER, key="stranger"),
        lambda: jwt.encode(USER, make_key("physics"), algorithm="RS512"),
        lambda: jwt.encode(USER, make_key("physics"), algorithm="PS256"),
        lambda: sign(USER)[:-10] + "AAAAAAAAAA",
        lambda: sign(USER).rpartition(".")[0],
        lambda: sign(USER).rpartition(".")[0] + ".",
        lambda: sign({**USER, "x": 1}).rpartition(".")[0] + "." + sign(USER).rpartition(".")[2],
        lambda: sign(USER, headers={"crit": ["x"], "x": 1}),
        lambda: "123",
        lambda: "a.b.c",
        lambda: "...",
        lambda: "\xff.\xff.\xff",
    ],
)
@pytest.mark.parametrize("header", ["X-Jwt-Assertion-Physics", "X-Tapis-Token"])
def test_what_the_tenants_key_has_not_signed(authenticator, make, header):
    with pytest.raises(AuthenticationError, match=r"^Invalid JWT\."):
        authenticator.authenticate([(header, make())])


@pytest.mark.parametrize(
    "claims",
    [
        {"tapis/tenant_id": "BIOLOGY"},
        {"tapis/tenant_id": 7},
        {"tapis/tenant_id": ""},
        {"exp": START.timestamp()},
        {"exp": "soon"},
        {"exp": True},
        {"nbf": START.timestamp() + 60},
        {"tapis/username": ""},
        {"tapis/username": 7},
        {"tapis/username": "../root"},
        {"tapis/username": "a b"},
        {"tapis/username": "-rf"},
        {"tapis/username": "alice\n"},
        {"tapis/username": "ABACO_WORLD"},
        {"tapis/username": "x" * 33},
        {WSO2_USER: "@carbon.super", "tapis/username": None},
    ],
)
def test_claims_that_do_not_hold(authenticator, claims):
    token = sign({**USER, **claims})
    with pytest.raises(AuthenticationError, match=r"^Invalid JWT\."):
        authenticator.authenticate([("X-Jwt-Assertion-Physics", token)])


def test_a_token_under_another_tenants_header(authenticator):
    token = sign({**USER, "tapis/tenant_id": "PHYSICS"})
    for tenant in ("BIOLOGY", "NOWHERE"):
        with pytest.raises(AuthenticationError):
            authenticator.authenticate([(f"X-Jwt-Assertion-{tenant}", token)])


def test_a_token_without_a_tenant_needs_abacos_header(authenticator):
    with pytest.raises(AuthenticationError, match="names no tenant"):
        authenticator.authenticate([("X-Tapis-Token", sign({"tapis/username": "alice"}))])


def test_a_token_is_verified_once(authenticator, monkeypatch):
    token = sign({WSO2_USER: "alice", TAPIS_TENANT: "PHYSICS"})
    headers = [("Authorization", f"Bearer {token}")]
    first = authenticator.authenticate(headers)
    monkeypatch.setattr(authenticate, "read_claims", None)
    assert authenticator.authenticate(headers) is first


@pytest.mark.parametrize("claim", ["exp", "nbf"])
def test_a_known_token_holds_no_longer_than_it_says(site, clock, claim):
    authenticator = Authenticator(site, clock)
    now = int(clock.now().timestamp())
    token = sign({WSO2_USER: "alice", TAPIS_TENANT: "PHYSICS", claim: now + 60})
    headers = [("X-Tapis-Token", token)]
    clock.push(59 if claim == "exp" else 60)
    authenticator.authenticate(headers)
    clock.push(1 if claim == "exp" else -1)
    with pytest.raises(AuthenticationError, match=r"expired|not valid yet"):
        authenticator.authenticate(headers)


def test_a_known_token_is_known_in_its_own_header_alone(authenticator):
    token = sign({WSO2_USER: "alice", TAPIS_TENANT: "PHYSICS"})
    assert authenticator.authenticate([("X-Tapis-Token", token)]).jwt_header_name == ""
    ours = authenticator.authenticate([("X-Jwt-Assertion-Physics", token)])
    assert ours.jwt_header_name == "X-Jwt-Assertion-Physics"
    for name in ("X-Jwt-Assertion-Biology", "X-Jwt-Assertion-"):
        with pytest.raises(AuthenticationError):
            authenticator.authenticate([(name, token)])


def test_a_token_that_differs_in_one_letter_is_another(authenticator):
    token = sign({WSO2_USER: "alice", TAPIS_TENANT: "PHYSICS"})
    authenticator.authenticate([("X-Tapis-Token", token)])
    head, _, signature = token.rpartition(".")
    forged = f"{head}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"
    with pytest.raises(AuthenticationError):
        authenticator.authenticate([("X-Tapis-Token", forged)])


def test_other_keys_know_nothing_of_it(tmp_path, clock):
    token = sign({WSO2_USER: "alice", TAPIS_TENANT: "PHYSICS"})
    old = make_site(tmp_path)
    Authenticator(old, clock).authenticate([("X-Tapis-Token", token)])
    write_keys(tmp_path, "other")
    (tmp_path / "other.pub").replace(tmp_path / "physics.pub")
    with pytest.raises(AuthenticationError):
        Authenticator(old, clock).authenticate([("X-Tapis-Token", token)])


def test_only_so_many_tokens_are_known(monkeypatch):
    monkeypatch.setattr(known, "MAX_TOKENS", 2)
    tokens = KnownTokens()
    one = Known(Identity("PHYSICS", "alice", ()), {}, keys_of("physics")(None)[0])
    for name in ("a", "b"):
        tokens.add(key_of(name), one)
    assert tokens.find(key_of("a")) is one  # and so it came after b
    tokens.add(key_of("c"), one)
    found = [name for name in ("a", "b", "c") if tokens.find(key_of(name))]
    assert found == ["a", "c"]


def test_words_are_not_run_together():
    assert key_of("ab", "c") != key_of("a", "bc")
    key_of("\ud800")


def test_roles_decide(site, clock):
    def identify(roles):
        token = sign_token(site.tenants["PHYSICS"], "PHYSICS", "alice", roles, 60, clock)
        return Authenticator(site, clock).authenticate([("X-Tapis-Token", token)])

    plain = identify(["Internal/everyone"])
    assert (plain.is_admin, plain.is_privileged) == (False, False)
    limited = identify(["Internal/abaco-limited"])
    assert (limited.is_admin, limited.is_privileged) == (False, False)
    privileged = identify(["Internal/abaco-privileged"])
    assert (privileged.is_admin, privileged.is_privileged) == (False, True)
    admin = identify(["x", "Internal/abaco-admin"])
    assert (admin.is_admin, admin.is_privileged) == (True, True)
    for roles in (["ALL"], ["other"]):
        with pytest.raises(PermissionDenied, match=r"^Not authorized -- missing required role\.$"):
            identify(roles)


def test_every_key_of_the_tenant_is_tried(tmp_path, clock):
    site = make_site(tmp_path)
    second = write_keys(tmp_path, "second")[0]
    table = site.tenants["PHYSICS"]
    both = table.model_copy(update={"public_keys": (*table.public_keys, second)})
    site = site.model_copy(update={"tenants": {**site.tenants, "PHYSICS": both}})
    for key in ("physics", "second"):
        found = Authenticator(site, clock).authenticate([("X-Tapis-Token", sign(USER, key=key))])
        assert found.username == "alice"


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_a_short_key_is_believed_and_complained_of(tmp_path, clock, caplog):
    site = make_site(tmp_path)
    write_keys(tmp_path, "physics", bits=1024)
    authenticator = Authenticator(site, clock)
    assert "shorter than recommended" in caplog.text
    token = jwt.encode(USER, make_key("physics", 1024), algorithm="RS256")
    assert authenticator.authenticate([("X-Tapis-Token", token)]).username == "alice"


def test_a_signed_token_says_who_in_both_ways_and_ends(site, clock):
    table = site.tenants["PHYSICS"]
    token = sign_token(table, "PHYSICS", "alice", ["a", "b"], 60, clock)
    keys, rules = keys_of("physics"), TokenRules()
    claims, _ = read_claims(token, keys, rules, clock.now())
    begun = int(START.timestamp())
    assert (claims["iat"], claims["exp"]) == (begun, begun + 60)
    assert (
        claims["jti"]
        != read_claims(
            sign_token(table, "PHYSICS", "alice", [], 60, clock),
            keys,
            rules,
            clock.now(),
        )[0]["jti"]
    )
    assert claims[WSO2_USER] == "alice@PHYSICS"
    assert claims[WSO2_ROLES] == "a,b"
    assert claims["tapis/username"] == "alice"
    assert claims["tapis/tenant_id"] == "PHYSICS"
    with pytest.raises(AuthenticationError, match="expired"):
        read_claims(token, keys, rules, clock.now() + timedelta(seconds=60))


def test_a_token_is_not_signed_for_a_name_that_would_not_be_believed(site, clock):
    with pytest.raises(AuthenticationError):
        sign_token(site.tenants["PHYSICS"], "PHYSICS", "../x", [], 60, clock)


@given(
    signature=st.binary(min_size=1, max_size=256), junk=st.sampled_from(["", "[\\r][\\n]", "\n"])
)
@settings(max_examples=100, deadline=None)
def test_any_signature_reads_the_same_in_both_alphabets(signature, junk):
    url = base64.urlsafe_b64encode(signature).decode().rstrip("=")
    standard = base64.b64encode(signature).decode()
    if not standard.endswith("="):
        junk = ""  # nothing tells the junk from the signature
    assert normalise_token(f"h=.p=.{standard}{junk}") == f"h=.p=.{url}"
    assert normalise_token(f"h.p.{url}") == f"h.p.{url}"


@given(token=st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_no_text_gets_anything_but_our_own_errors(token):
    with pytest.raises(BridgeError):
        read_claims(token, keys_of("physics"), TokenRules(), START)
