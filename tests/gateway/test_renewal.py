"""Names certified by an ACME authority, from the first order to the renewal; the gateway shows the challenges."""

from __future__ import annotations

import http.client
import ssl
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509

from bough.adapters.certificates import Authority, CertificateRefused
from bough.adapters.certificates.acme import AcmeAuthority
from bough.gateway.renewal import FIRST_PAUSE_S, LONGEST_PAUSE_S, LOOK_S, Renewal, is_due, pause_s
from bough.gateway.server import Options, Tls
from bough.kernel.clock import VirtualClock
from bough.kernel.errors import Unavailable
from bough.kernel.platform import Home
from tests.adapters.acme_server import AcmeServer

from .conftest import Replica, Running, route

Make = Callable[..., Replica]
DAY_S = 86_400.0


@pytest.fixture
def server() -> Iterator[AcmeServer]:
    made = AcmeServer()
    yield made
    made.close()


class Site:
    """A gateway and what renews its certificate, without a control plane around it."""

    def __init__(self, folder: Path, server: AcmeServer, names: list[str]) -> None:
        self.home, self.server = Home(folder), server
        tls = Tls(port=0, certificate=str(self.home.certificate))
        self.gateway = Running(folder, Options(grace_s=2.0, watch_s=0.02, tls=tls))
        self.said: list[str] = []
        self.clock = VirtualClock()
        self.renewal = Renewal(self.home, names, self.authority, self.clock, self.said.append)
        self.now()

    def authority(self) -> Authority:
        return AcmeAuthority(self.server.directory, "ops@example.com", self.home.acme_account)

    def now(self, days: float = 0.0) -> None:
        """Sets the clock to so many days from today."""
        self.clock.advance(time.time() + days * DAY_S - self.clock.now())

    def serial(self) -> int:
        return x509.load_pem_x509_certificate(self.home.certificate.read_bytes()).serial_number

    def served(self) -> int:
        """The serial number that a client which trusts the authority is shown; 0 while nothing is there."""
        if not self.gateway.gateway.tls_addresses:
            return 0
        context = ssl.create_default_context(cadata=self.server.trusted)
        port = self.gateway.gateway.tls_addresses[0][1]
        connection = http.client.HTTPSConnection("localhost", port, timeout=60, context=context)
        try:
            connection.request("POST", "/v1/churn/predict", "1")
            assert connection.getresponse().read() == b"1"
            return x509.load_der_x509_certificate(connection.sock.getpeercert(binary_form=True)).serial_number
        finally:
            connection.close()


@pytest.fixture
def site(folder: Path, server: AcmeServer, replicas: Make) -> Iterator[Site]:
    made = Site(folder, server, ["localhost", "models.test"])
    made.gateway.start(routes=[route("churn", replicas())])
    server.leads_to = made.gateway.port
    yield made
    made.gateway.stop()


def test_names_are_certified_and_served_to_a_client_that_verifies(site: Site) -> None:
    assert site.renewal.turn() == LOOK_S
    site.gateway.wait(lambda: site.served() == site.serial())
    assert site.server.orders[0]["names"] == ["localhost", "models.test"]
    for secret in (site.home.certificate, site.home.acme_account):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert list(site.home.challenges.iterdir()) == []
    assert site.said == ["certified: localhost, models.test"]


def test_a_third_of_its_time_before_the_end_it_is_renewed_with_the_same_account(site: Site) -> None:
    site.renewal.turn()
    first = site.serial()
    for days in (0, 30, 59):
        site.now(days)
        assert site.renewal.turn() == LOOK_S
        assert site.serial() == first
    site.now(61)
    site.renewal.turn()
    assert site.serial() != first
    assert (len(site.server.orders), len(site.server.accounts)) == (2, 1)
    site.gateway.wait(lambda: site.served() == site.serial())


def test_another_name_is_certified_at_once(site: Site) -> None:
    site.renewal.turn()
    assert not is_due(site.home.certificate, ["localhost"], site.clock.now())
    assert is_due(site.home.certificate, ["localhost", "new.test"], site.clock.now())


def test_a_name_that_leads_elsewhere_is_refused_with_what_was_found(site: Site, server: AcmeServer) -> None:
    server.leads_to = 1  # nobody
    with pytest.raises(CertificateRefused) as caught:
        site.authority().certify(["localhost"], lambda token, text: None)
    assert "localhost: found" in caught.value.message
    assert site.renewal.turn() == FIRST_PAUSE_S
    assert site.renewal.turn() == FIRST_PAUSE_S * 4
    assert not site.home.certificate.exists()
    assert "not certified" in site.said[-1]
    server.leads_to = site.gateway.port
    assert site.renewal.turn() == LOOK_S


def test_an_authority_that_is_away_is_asked_again_later_and_the_old_certificate_stays(
    site: Site, server: AcmeServer
) -> None:
    site.renewal.turn()
    first = site.serial()
    server.close()
    site.now(80)
    with pytest.raises(Unavailable):
        site.authority().certify(["localhost"], lambda token, text: None)
    assert site.renewal.turn() == FIRST_PAUSE_S
    assert site.serial() == first


def test_pauses_grow_and_end_somewhere() -> None:
    pauses = [pause_s(failures) for failures in range(1, 30)]
    assert pauses == sorted(pauses) and pauses[0] == FIRST_PAUSE_S and pauses[-1] == LONGEST_PAUSE_S


def test_its_thread_ends_when_it_is_told_to(site: Site) -> None:
    before = threading.active_count()
    site.renewal.start()
    site.gateway.wait(site.home.certificate.exists)
    site.renewal.stop()
    site.clock.advance(LOOK_S + 1)
    site.gateway.wait(lambda: threading.active_count() <= before)


def test_the_gateway_shows_challenges_and_nothing_else(site: Site) -> None:
    site.home.challenges.mkdir(exist_ok=True)
    (site.home.challenges / "abc").write_text("abc.xyz")
    place = "/.well-known/acme-challenge"
    assert site.gateway.request("GET", f"{place}/abc")[2] == b"abc.xyz"
    for path in ("other", "..", "%2e%2e", "../routes.json", "..%2Froutes.json", ""):
        assert site.gateway.request("GET", f"{place}/{path}")[0] == 404
