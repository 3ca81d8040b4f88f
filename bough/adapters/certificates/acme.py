"""ACME (RFC 8555), as Let's Encrypt and others speak it, with the client library of certbot; challenge http-01."""

from __future__ import annotations

import datetime
from pathlib import Path

import requests
from acme import challenges, client, crypto_util, errors, messages
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from josepy.jwk import JWKRSA

from bough import __version__
from bough.adapters.certificates import CertificateRefused, Show
from bough.kernel.errors import Unavailable
from bough.kernel.files import write_whole

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
DEADLINE_S = 100.0
ACCOUNT_BITS = 2048
_PEM = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()


class AcmeAuthority:
    """`account` is the file of the account's key, made when it is not there. `trust`: a file with the authority that
    signed the directory's own certificate, where that is a private one."""

    def __init__(self, directory: str, email: str, account: Path, trust: str = "") -> None:
        self._directory, self._email, self._account, self._trust = directory or LETS_ENCRYPT, email, account, trust

    def certify(self, names: list[str], show: Show) -> bytes:
        try:
            return self._certify(names, show)
        except errors.ValidationError as error:
            raise CertificateRefused(
                f"{self._directory} could not see the challenge: {_reasons(error)}",
                hint="each name must lead here, port 80 to the gateway's; bough logs server",
            ) from error
        except (messages.Error, errors.Error) as error:
            raise CertificateRefused(f"{self._directory} refuses: {error}", hint="bough logs server") from error
        except (requests.RequestException, OSError, TimeoutError) as error:
            said = f"{self._directory} does not answer: {error}"
            hint = "curl this address from here, or choose another authority: bough up --acme-directory URL"
            raise Unavailable(said, code="AUTHORITY_UNREACHABLE", hint=hint) from error

    def _certify(self, names: list[str], show: Show) -> bytes:
        session = self._session()
        key = ec.generate_private_key(ec.SECP256R1()).private_bytes(*_PEM)
        order = session.new_order(crypto_util.make_csr(key, names))
        for authorization in order.authorizations:
            if authorization.body.status == messages.STATUS_VALID:  # proved not long ago
                continue
            found = [each for each in authorization.body.challenges if isinstance(each.chall, challenges.HTTP01)]
            if not found:
                raise CertificateRefused(f"{self._directory} offers no challenge over HTTP")
            response, text = found[0].response_and_validation(session.net.key)
            show(found[0].chall.encode("token"), text)
            session.answer_challenge(found[0], response)
        # The library compares with the local time, without a zone.
        deadline = datetime.datetime.now() + datetime.timedelta(seconds=DEADLINE_S)
        chain: str = session.poll_and_finalize(order, deadline).fullchain_pem
        return key + chain.encode()

    def _session(self) -> client.ClientV2:
        net = client.ClientNetwork(JWKRSA(key=self._key()), user_agent=f"bough/{__version__}")
        if self._trust:
            net.verify_ssl = self._trust  # type: ignore[assignment]  # a path is what `requests` takes as well
        session = client.ClientV2(client.ClientV2.get_directory(self._directory, net), net=net)
        try:
            session.new_account(
                messages.NewRegistration.from_data(email=self._email or None, terms_of_service_agreed=True)
            )
        except errors.ConflictError as error:  # we have one
            net.account = messages.RegistrationResource(uri=error.location, body=messages.Registration())
        return session

    def _key(self) -> rsa.RSAPrivateKey:
        if self._account.exists():
            found = serialization.load_pem_private_key(self._account.read_bytes(), password=None)
            if isinstance(found, rsa.RSAPrivateKey):
                return found
        made = rsa.generate_private_key(public_exponent=65537, key_size=ACCOUNT_BITS)
        self._account.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(self._account, made.private_bytes(*_PEM), mode=0o600)
        return made


def _reasons(error: errors.ValidationError) -> str:
    return "; ".join(
        f"{each.body.identifier.value}: {challenge.error.detail if challenge.error else 'not proved'}"
        for each in error.failed_authzrs
        for challenge in each.body.challenges
        if challenge.error is not None
    )
