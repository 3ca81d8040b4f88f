"""Tokens of an OpenID Connect issuer: a real one over HTTP, its keys in turns, and what is no proof."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from bough.gateway.callers import tokens
from bough.gateway.models import Route
from bough.kernel.traffic import Quota, TokenIssuer

from ..conftest import Replica, Running, route
from ..queues.test_queues import queue
from ..test_serving import code
from .test_limits import key

Make = Callable[..., Replica]


class Issuer:
    """Publishes discovery and keys, and signs what it is asked to."""

    def __init__(self) -> None:
        self.keys: dict[str, tuple[Any, str]] = {}
        self.fetched = 0
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found: Any = {"jwks_uri": f"{issuer.url}/keys"}
                if self.path == "/keys":
                    issuer.fetched += 1
                    found = {"keys": [issuer.published(kid) for kid in issuer.keys]}
                body = json.dumps(found).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Tests are silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def published(self, kid: str) -> dict[str, Any]:
        private, algorithm = self.keys[kid]
        made: dict[str, Any] = jwt.get_algorithm_by_name(algorithm).to_jwk(private.public_key(), as_dict=True)
        return made | {"kid": kid, "alg": algorithm, "use": "sig"}

    def add(self, kid: str, algorithm: str = "ES256") -> None:
        made: Any = ec.generate_private_key(ec.SECP256R1())
        if algorithm == "EdDSA":
            made = ed25519.Ed25519PrivateKey.generate()
        elif algorithm != "ES256":
            made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.keys[kid] = made, algorithm

    def token(self, kid: str = "one", **claims: Any) -> str:
        private, algorithm = self.keys[kid]
        said = {"iss": self.url, "aud": "shop", "sub": "ada", "exp": time.time() + 300} | claims
        return jwt.encode({k: v for k, v in said.items() if v is not None}, private, algorithm, headers={"kid": kid})

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    made.add("one")
    yield made
    made.close()


def asks(issuer: Issuer, *replicas: Replica, **fields: Any) -> Route:
    trusted = TokenIssuer(issuer=issuer.url, audience="shop", tenant="org")
    return route("churn", *replicas, **{"access": "jwt", "issuers": [trusted]} | fields)


def start(gateway: Running, found: Route, issuer: Issuer, **rest: Any) -> None:
    gateway.start(routes=[found], **rest)
    gateway.wait(lambda: issuer.fetched > 0)
    gateway.wait(lambda: ask(gateway, issuer.token()) != 503)


def ask(gateway: Running, token: str) -> int:
    return gateway.post("churn", {}, Authorization=f"Bearer {token}")[0]


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "PS256", "EdDSA"])
def test_a_token_of_the_issuer_is_let_in(gateway: Running, replicas: Make, issuer: Issuer, algorithm: str) -> None:
    issuer.add("one", algorithm)
    start(gateway, asks(issuer, replicas()), issuer)
    assert ask(gateway, issuer.token()) == 200
    assert ask(gateway, issuer.token(aud=["other", "shop"])) == 200


def test_what_proves_nothing_is_401(gateway: Running, replicas: Make, issuer: Issuer) -> None:
    start(gateway, asks(issuer, replicas()), issuer)
    other = Issuer()
    other.add("one")
    foreign = other.token(iss=issuer.url)  # signed by somebody else's key of the same name
    other.close()
    good = issuer.token()
    head, body, signed = good.split(".")
    public = (
        issuer.keys["one"][0]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    refused = {
        "expired": issuer.token(exp=time.time() - 60),
        "not yet": issuer.token(nbf=time.time() + 600),
        "for others": issuer.token(aud="bank"),
        "for nobody": issuer.token(aud=None),
        "for ever": issuer.token(exp=None),
        "of nobody": issuer.token(sub=None),
        "another issuer's": issuer.token(iss="https://elsewhere.example"),
        "another's key": foreign,
        "changed": f"{head}.{_part({'iss': issuer.url, 'aud': 'shop', 'sub': 'root', 'exp': 9e9})}.{signed}",
        "unsigned": f"{_part({'alg': 'none', 'kid': 'one'})}.{body}.",
        "signed with the public key": _hmac(f"{_part({'alg': 'HS256', 'kid': 'one'})}.{body}", public),
        "no token": "a.b.c",
    }
    for what, token in refused.items():
        status, headers, answer = gateway.post("churn", {}, Authorization=f"Bearer {token}")
        assert (status, code(answer)) == (401, "TOKEN_INVALID"), what
        assert headers["www-authenticate"] == 'Bearer realm="bough", error="invalid_token"'
    _, headers, answer = gateway.post("churn", {})
    assert (code(answer), headers["www-authenticate"]) == ("TOKEN_MISSING", 'Bearer realm="bough"')
    assert ask(gateway, good) == 200


def _part(data: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()


def _hmac(signed: str, secret: bytes) -> str:
    made = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(made).rstrip(b'=').decode()}"


def test_a_token_that_a_connection_repeats_ends_when_it_expires(
    gateway: Running, replicas: Make, issuer: Issuer
) -> None:
    start(gateway, asks(issuer, replicas()), issuer)
    soon = issuer.token(exp=time.time() - tokens.LEEWAY_S + 3.0)
    assert [ask(gateway, soon) for _ in range(2)] == [200, 200]
    gateway.wait(lambda: ask(gateway, soon) == 401)


def test_a_new_key_is_fetched_when_a_token_names_it_and_an_old_one_ends(
    gateway: Running, replicas: Make, issuer: Issuer
) -> None:
    start(gateway, asks(issuer, replicas()), issuer)
    old = issuer.token()
    assert ask(gateway, old) == 200
    issuer.keys.clear()
    issuer.add("two")
    gateway.wait(lambda: ask(gateway, issuer.token("two")) == 200)
    gateway.wait(lambda: ask(gateway, old) == 401)


class Asked:
    """What a gateway does with keys, in an event loop of its own; nothing is fetched again for a quarter of an hour but
    because a token names a key that is not known."""

    def __init__(self, folder: Path, issuer: Issuer) -> None:
        self.issuer, self.route = issuer, asks(issuer)
        self.issuers = tokens.Issuers(folder / "issuers.json", lambda: None, again_s=900.0)

    async def ask(self, token: str, patience_s: float = 20.0) -> str:
        """The caller, or the code of a refusal that is more than a fetch under way."""
        until = time.monotonic() + patience_s
        while True:
            try:
                return self.issuers.caller(self.route, token.encode()).id
            except tokens.IssuerAway as away:
                if "being fetched" not in away.message or time.monotonic() > until:
                    return away.code
                await asyncio.sleep(0.01)
            except tokens.TokenInvalid as invalid:
                return invalid.code


def test_a_key_that_is_new_right_after_a_fetch_is_found_and_invented_ones_make_nobody_ask_without_end(
    tmp_path: Path, issuer: Issuer
) -> None:
    async def go() -> None:
        asked = Asked(tmp_path, issuer)
        assert await asked.ask(issuer.token()) == "ada"
        issuer.add("two")
        assert await asked.ask(issuer.token("two")) == "ada", "a moment after its issuer was asked"
        fetched = issuer.fetched
        for number in range(50):
            issuer.add(f"invented {number}")
            token = issuer.token(f"invented {number}")
            del issuer.keys[f"invented {number}"]
            for _ in range(3):
                assert await asked.ask(token) in ("TOKEN_INVALID", "ISSUER_UNREACHABLE")
        assert issuer.fetched - fetched <= tokens.ALLOWED
        assert await asked.ask(issuer.token("two")) == "ada", "and nobody is locked out meanwhile"
        asked.issuers.close()

    asyncio.run(go())


def test_one_name_of_a_key_that_is_not_there_is_looked_up_once(tmp_path: Path, issuer: Issuer) -> None:
    async def go() -> None:
        asked = Asked(tmp_path, issuer)
        assert await asked.ask(issuer.token()) == "ada"
        issuer.add("gone")
        token, fetched = issuer.token("gone"), issuer.fetched
        del issuer.keys["gone"]
        assert [await asked.ask(token) for _ in range(20)] == ["TOKEN_INVALID"] * 20
        assert issuer.fetched == fetched + 1
        asked.issuers.close()

    asyncio.run(go())


def test_keys_outlive_the_issuer_and_the_gateway(gateway: Running, replicas: Make, issuer: Issuer) -> None:
    found = asks(issuer, replicas())
    start(gateway, found, issuer)
    good = issuer.token()
    gateway.stop()
    issuer.close()
    gateway._started.clear()
    gateway.start()
    gateway.until_up("dep-churn")
    assert ask(gateway, good) == 200


def test_scopes_tenant_and_quota_come_from_the_token(gateway: Running, replicas: Make, issuer: Issuer) -> None:
    day = 86_400
    limits = {"key": Quota(2, day, 2), "tenant": Quota(3, day, 3)}
    start(gateway, asks(issuer, replicas(), scopes=["predict"], limits=limits), issuer)
    assert gateway.post("churn", {}, Authorization=f"Bearer {issuer.token(scope='read')}")[0] == 403

    def admitted(sub: str, **claims: Any) -> int:
        token = issuer.token(sub=sub, scope="predict read", **claims)
        return sum(ask(gateway, token) == 200 for _ in range(4))

    assert [admitted("ada", org="acme"), admitted("bob", org="acme"), admitted("eve")] == [2, 1, 2]
    assert ask(gateway, issuer.token(sub="dan", scope=["predict"])) == 200


def test_a_service_may_take_both_keys_and_tokens(gateway: Running, replicas: Make, issuer: Issuer) -> None:
    found = asks(issuer, replicas(), access="key-or-jwt")
    start(gateway, found, issuer, keys=[key("good")])
    assert [ask(gateway, text) for text in ("good", issuer.token(), "bad")] == [200, 200, 401]
    log = [json.loads(line) for line in _access_log(gateway)]
    assert {"key_good", "ada"} <= {line.get("caller") for line in log}


def test_a_queue_takes_the_tokens_of_its_handler_with_its_scopes(
    gateway: Running, replicas: Make, issuer: Issuer
) -> None:
    """Whoever may not ask the service may not have it asked through its queue."""
    found = asks(issuer, replicas(), scopes=["predict"])
    doors = {"access": "jwt", "scopes": found.scopes, "issuers": found.issuers}
    gateway.queues = [
        msgspec.structs.replace(queue(), **doors), msgspec.structs.replace(queue("by-key"), **doors | {"access": "key"})
    ]  # fmt: skip
    start(gateway, found, issuer, keys=[key("good", scopes=["predict"]), key("bad")])

    def puts(name: str, token: str) -> int:
        return gateway.request("POST", f"/queues/{name}", b"1", Authorization=f"Bearer {token}")[0]

    assert puts("documents", issuer.token(scope="predict")) == 202
    assert [puts("documents", token) for token in (issuer.token(), issuer.token(aud="other"))] == [403, 401]
    assert [puts("by-key", text) for text in ("good", "bad")] == [202, 403]


def _access_log(gateway: Running) -> list[str]:
    path = gateway.home / "logs" / "access.log"
    gateway.wait(lambda: path.exists() and '"caller":"key_good"' in path.read_text())
    return path.read_text().splitlines()


@pytest.mark.parametrize("place", ["https://a.example", "http://127.0.0.1:80/x", "http://localhost", "http://[::1]:8/"])
def test_keys_are_believed_over_tls_and_from_this_machine(place: str) -> None:
    assert tokens.may_be_asked(place)


@pytest.mark.parametrize(
    "place", ["http://a.example", "http://127.0.0.1.evil.example/", "file:///etc/passwd", "ftp://x"]
)
def test_keys_from_elsewhere_are_not_asked_for(place: str) -> None:
    assert not tokens.may_be_asked(place)
