"""Connections to other servers."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bough.kernel.calling import connection_to
from tests.gateway.http.test_tls import certify


class Here(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[str]:
    """The address of a server whose certificate is for `localhost` and signs itself."""
    certify(tmp_path, 1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Here)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"https://localhost:{server.server_address[1]}/"
    server.shutdown()
    thread.join()
    server.server_close()


def ask(url: str) -> int:
    connection = connection_to(urlsplit(url), 10.0)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("url", "at"), [("https://forge.example/api", 443), ("https://[::1]:8443", 8443), ("http://forge.example", 80)]
)
def test_a_connection_goes_to_the_host_of_a_url_and_waits_for_so_long(url: str, at: int) -> None:
    made = connection_to(urlsplit(url), 2.5)
    assert (made.host, made.port, made.timeout) == (urlsplit(url).hostname, at, 2.5)
    assert isinstance(made, http.client.HTTPSConnection) == url.startswith("https:")


def test_over_tls_it_speaks_with_whoever_shows_a_trusted_certificate_of_that_host(
    secure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="self-signed"):
        ask(secure)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    assert ask(secure) == 204
    with pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for '127\.0\.0\.1'"):
        ask(secure.replace("localhost", "127.0.0.1"))
