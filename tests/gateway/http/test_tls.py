"""TLS with a given certificate: real clients, renewal under load, and files that do not fit."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bough.gateway.certificates import Certificate
from bough.gateway.server import Options, Tls
from bough.kernel.errors import Invalid
from tests.ports import free_port

from ..conftest import Replica, Running, read_all, route

Make = Callable[..., Replica]
POST = b"POST /v1/churn/predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"


def certify(folder: Path, serial: int, *, begins_h: float = -1, ends_h: float = 1, password: bytes = b"") -> None:
    """A certificate for 127.0.0.1 that signs itself, and its key. Hours from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now + datetime.timedelta(hours=begins_h))
        .not_valid_after(now + datetime.timedelta(hours=ends_h))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    sealed = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, sealed)
    (folder / "key.pem").write_bytes(private)
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))


@pytest.fixture
def secure(folder: Path) -> Iterator[Running]:
    certify(folder, 1)
    tls = Tls(port=0, certificate=str(folder / "cert.pem"), key=str(folder / "key.pem"))
    running = Running(folder, Options(grace_s=2.0, watch_s=0.02, tls=tls))
    yield running
    running.stop()


@contextmanager
def connect(gateway: Running, trusted: str = "") -> Iterator[http.client.HTTPSConnection]:
    """A client that trusts one certificate, that of the moment if it is not said."""
    context = ssl.create_default_context(cadata=trusted or (gateway.home / "cert.pem").read_text())
    port = gateway.gateway.tls_addresses[0][1]
    connection = http.client.HTTPSConnection("localhost", port, timeout=60, context=context)
    try:
        yield connection
    finally:
        connection.close()


def ask(connection: http.client.HTTPSConnection, body: object = 1) -> tuple[int, object]:
    connection.request("POST", "/v1/churn/predict", json.dumps(body))
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def serial(connection: http.client.HTTPSConnection) -> int:
    der = connection.sock.getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(der).serial_number


def test_a_client_that_verifies_is_answered(secure: Running, replicas: Make) -> None:
    secure.start(routes=[route("churn", replicas())])
    with connect(secure) as connection:
        assert [ask(connection, n) for n in range(3)] == [(200, 0), (200, 1), (200, 2)]
        assert connection.sock.version() in ("TLSv1.2", "TLSv1.3")
    assert secure.post("churn", 5)[0] == 200  # plain HTTP still answers on its own port


def test_nobody_is_answered_before_the_table_is_read(secure: Running, replicas: Make) -> None:
    """Whoever comes in the moment of a start is refused the connection, not told that there is no such service."""
    answers: list[bytes] = []
    secure.port = free_port()

    def ask() -> None:
        while not answers:
            with contextlib.suppress(ConnectionRefusedError), secure.raw(POST) as connection:
                answers.append(read_all(connection))

    asking = [threading.Thread(target=ask) for _ in range(4)]
    for each in asking:
        each.start()
    secure.start(routes=[route("churn", replicas())])
    for each in asking:
        each.join()
    assert {each[:13] for each in answers} == {b"HTTP/1.1 200 "}


def test_a_new_certificate_is_used_without_dropping_a_connection(secure: Running, replicas: Make) -> None:
    secure.start(routes=[route("churn", replicas())])
    failed: list[BaseException] = []
    stop, began, first = threading.Event(), threading.Barrier(5), (secure.home / "cert.pem").read_text()

    def load() -> None:
        try:
            with connect(secure, first) as mine:
                assert ask(mine) == (200, 1)
                began.wait(60)
                while not stop.is_set():
                    assert ask(mine) == (200, 1)
        except BaseException as error:
            failed.append(error)

    clients = [threading.Thread(target=load) for _ in range(4)]
    with connect(secure) as old:
        assert ask(old) == (200, 1) and serial(old) == 1
        for each in clients:
            each.start()
        began.wait(60)
        certify(secure.home, 2)
        second = (secure.home / "cert.pem").read_text()

        def is_renewed() -> bool:
            with connect(secure, second) as fresh, contextlib.suppress(ssl.SSLError):
                return ask(fresh) == (200, 1) and serial(fresh) == 2
            return False

        secure.wait(is_renewed)
        assert ask(old) == (200, 1) and serial(old) == 1
        stop.set()
        for each in clients:
            each.join(60)
    assert failed == []


def test_files_that_do_not_fit_change_nothing(secure: Running, replicas: Make) -> None:
    secure.start(routes=[route("churn", replicas())])
    trusted = (secure.home / "cert.pem").read_text()
    for broken in ("nonsense", trusted[:100], ""):
        (secure.home / "cert.pem").write_text(broken)
        threading.Event().wait(0.1)  # five looks at the files
        with connect(secure, trusted) as connection:
            assert ask(connection) == (200, 1)


@pytest.mark.parametrize(("begins_h", "ends_h", "said"), [(-9, -1, "it ended at"), (1, 9, "it begins at")])
def test_a_certificate_that_nobody_trusts_now_is_told_with_its_time(
    folder: Path, begins_h: float, ends_h: float, said: str
) -> None:
    """It is taken all the same: whoever renews it may be late, and a gateway that is away helps nobody."""
    certify(folder, 1, begins_h=begins_h, ends_h=ends_h)
    found = Certificate(folder / "cert.pem", folder / "key.pem")
    assert found.look()
    with pytest.raises(Invalid, match=said):
        found.check_time(time.time())


def test_a_key_with_a_password_and_a_key_that_is_away_are_refused_without_a_question(folder: Path) -> None:
    certify(folder, 1, password=b"secret")
    with pytest.raises(Invalid, match="cannot be used"):
        Certificate(folder / "cert.pem", folder / "key.pem").load()
    with pytest.raises(Invalid, match=f"{folder}/away.pem cannot be used for TLS: there is no such file"):
        Certificate(folder / "cert.pem", folder / "away.pem").load()


def test_a_certificate_that_comes_later_is_used_then(folder: Path, replicas: Make) -> None:
    tls = Tls(port=0, certificate=str(folder / "cert.pem"), key=str(folder / "key.pem"))
    running = Running(folder, Options(grace_s=2.0, watch_s=0.02, tls=tls))
    try:
        running.start(routes=[route("churn", replicas())])
        assert running.gateway.tls_addresses == []
        assert running.post("churn", 1)[0] == 200
        certify(folder, 3)
        running.wait(lambda: running.gateway.tls_addresses)
        with connect(running) as connection:
            assert ask(connection) == (200, 1)
    finally:
        running.stop()


def test_what_is_no_tls_ends_and_harms_nobody(secure: Running, replicas: Make) -> None:
    secure.start(routes=[route("churn", replicas())])
    with secure.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", secure.gateway.tls_addresses[0][1]) as plain:
        assert not read_all(plain).startswith(b"HTTP/1.1 200")
    with connect(secure) as connection:
        assert ask(connection) == (200, 1)


def test_an_error_that_closes_the_connection_is_read_by_the_client(secure: Running, replicas: Make) -> None:
    secure.start(routes=[route("churn", replicas(), max_body_bytes=1000)])
    with connect(secure) as connection:
        connection.request("POST", "/v1/churn/predict", b"x" * 2000)
        answer = connection.getresponse()
        assert (answer.status, "BODY_TOO_LARGE" in answer.read().decode()) == (413, True)
