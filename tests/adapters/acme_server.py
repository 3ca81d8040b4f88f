"""An ACME authority (RFC 8555) on loopback: checks signatures and nonces, looks for proofs where the test says that
names lead to, and certifies with a key of its own."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import secrets
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID


class Refusal(Exception):
    """An error of the protocol: its type, and a sentence."""


class AcmeServer:
    def __init__(self) -> None:
        self.leads_to = 0  # the port on this machine to which every name leads
        self.lives = datetime.timedelta(days=90)
        self.accounts: dict[str, dict[str, Any]] = {}  # by thumbprint
        self.orders: list[dict[str, Any]] = []
        self._nonces: set[str] = set()
        self._lock = threading.Lock()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        now = datetime.datetime.now(datetime.UTC)
        self.authority = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(1)
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self, None)

            do_HEAD = do_GET

            def do_POST(self) -> None:
                server.answer(self, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def log_message(self, *_: Any) -> None:
                """Tests are silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def directory(self) -> str:
        return f"{self.url}/directory"

    @property
    def trusted(self) -> str:
        return self.authority.public_bytes(serialization.Encoding.PEM).decode()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler, signed: dict[str, Any] | None) -> None:
        status, headers, body = 200, dict[str, str](), b""
        try:
            with self._lock:
                status, headers, found = self._route(request.path.strip("/"), signed)
            body = found if isinstance(found, bytes) else json.dumps(found).encode()
        except Refusal as refusal:
            kind, detail = refusal.args
            status, headers = 400, {"Content-Type": "application/problem+json"}
            body = json.dumps({"type": f"urn:ietf:params:acme:error:{kind}", "detail": detail}).encode()
        nonce = secrets.token_urlsafe(12)
        self._nonces.add(nonce)
        request.send_response(status)
        for name, value in ({"Content-Type": "application/json", "Replay-Nonce": nonce} | headers).items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)

    def _route(self, path: str, signed: dict[str, Any] | None) -> tuple[int, dict[str, str], Any]:
        if path == "directory":
            names = {"newNonce": "nonce", "newAccount": "account", "newOrder": "order"}
            return 200, {}, {name: f"{self.url}/{place}" for name, place in names.items()}
        if path == "nonce":
            return 200, {}, b""
        assert signed is not None
        account, said = self._opened(path, signed)
        what, _, number = path.partition("/")
        if what == "account":
            known = account in self.accounts
            self.accounts.setdefault(account, said)
            return 200 if known else 201, {"Location": f"{self.url}/account/{account}"}, {"status": "valid"}
        if what == "order" and not number:
            self.orders.append(
                {"names": [each["value"] for each in said["identifiers"]], "status": "pending", "proved": set(),
                 "tokens": {each["value"]: secrets.token_urlsafe(16) for each in said["identifiers"]}, "failed": {}}
            )  # fmt: skip
            number = str(len(self.orders) - 1)
            return 201, {"Location": f"{self.url}/order/{number}"}, self._order(number)
        number, _, name = number.partition("/")
        order = self.orders[int(number)]
        if what == "chall":
            self._look(order, name, account)
            return 200, {"Link": f'<{self.url}/authz/{number}/{name}>;rel="up"'}, self._challenge(number, name)
        if what == "authz":
            return 200, {}, self._authorization(number, name)
        if what == "finalize":
            order["certificate"] = self._sign(order["names"], _unpacked(said["csr"]))
            order["status"] = "valid"
        if what == "cert":
            return 200, {"Content-Type": "application/pem-certificate-chain"}, order["certificate"]
        return 200, {"Location": f"{self.url}/order/{number}"}, self._order(number)

    def _opened(self, path: str, signed: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Who has signed a request, and what it says."""
        head = json.loads(_unpacked(signed["protected"]))
        if head["nonce"] not in self._nonces:
            raise Refusal("badNonce", "this nonce is not ours")
        self._nonces.remove(head["nonce"])
        if head["url"] != f"{self.url}/{path}":
            raise Refusal("unauthorized", "signed for another address")
        key = head.get("jwk") or self.accounts[head["kid"].rpartition("/")[2]]["key"]
        public = rsa.RSAPublicNumbers(_number(key["e"]), _number(key["n"])).public_key()
        covered = f"{signed['protected']}.{signed['payload']}".encode()
        public.verify(_unpacked(signed["signature"]), covered, padding.PKCS1v15(), hashes.SHA256())
        thumbprint = json.dumps({"e": key["e"], "kty": "RSA", "n": key["n"]}, separators=(",", ":")).encode()
        said = json.loads(_unpacked(signed["payload"]) or b"{}")
        return _packed(hashlib.sha256(thumbprint).digest()), said | ({"key": key} if "jwk" in head else {})

    def _order(self, number: str) -> dict[str, Any]:
        order = self.orders[int(number)]
        found = {
            "status": order["status"],
            "identifiers": [{"type": "dns", "value": name} for name in order["names"]],
            "authorizations": [f"{self.url}/authz/{number}/{name}" for name in order["names"]],
            "finalize": f"{self.url}/finalize/{number}",
        }
        return found | ({"certificate": f"{self.url}/cert/{number}"} if order["status"] == "valid" else {})

    def _authorization(self, number: str, name: str) -> dict[str, Any]:
        challenge = self._challenge(number, name)
        return {
            "status": challenge["status"], "identifier": {"type": "dns", "value": name}, "challenges": [challenge],
        }  # fmt: skip

    def _challenge(self, number: str, name: str) -> dict[str, Any]:
        order = self.orders[int(number)]
        status = "valid" if name in order["proved"] else "invalid" if name in order["failed"] else "pending"
        found = {
            "type": "http-01", "url": f"{self.url}/chall/{number}/{name}", "token": order["tokens"][name],
            "status": status,
        }  # fmt: skip
        if status == "invalid":
            found["error"] = {"type": "urn:ietf:params:acme:error:unauthorized", "detail": order["failed"][name]}
        return found

    def _look(self, order: dict[str, Any], name: str, account: str) -> None:
        """As an authority does: plain HTTP to the name, which leads to a port of this machine."""
        token = order["tokens"][name]
        place = f"http://127.0.0.1:{self.leads_to}/.well-known/acme-challenge/{token}"
        try:
            with urllib.request.urlopen(urllib.request.Request(place, headers={"Host": name}), timeout=5) as answer:
                text = answer.read().decode()
        except OSError as error:
            text = str(error)
        if text.strip() == f"{token}.{account}":
            order["proved"].add(name)
        else:
            order["failed"][name] = f"found {text[:100]!r}"

    def _sign(self, names: list[str], request: bytes) -> bytes:
        asked, now = x509.load_der_x509_csr(request), datetime.datetime.now(datetime.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._name)
            .public_key(asked.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=1))
            .not_valid_after(now + self.lives)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in (made, self.authority))


def _packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unpacked(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _number(text: str) -> int:
    return int.from_bytes(_unpacked(text), "big")
