"""The control plane's side of certificates: has the gateway's names certified, and again when a third of the time is
left. The gateway reads the file, and shows the challenges that lie in `run/acme`."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

from bough.adapters.certificates import Authority
from bough.kernel.clock import Clock
from bough.kernel.errors import Problem
from bough.kernel.files import write_whole
from bough.kernel.platform import Home

LOOK_S = 3600.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 60.0, 12 * 3600.0  # after a failure; authorities count failed tries


class Renewal:
    """Looks every hour in a thread of its own, while `app.Bough` runs. `authority` is made when it is needed."""

    def __init__(
        self, home: Home, names: list[str], authority: Callable[[], Authority], clock: Clock, say: Callable[[str], None]
    ) -> None:
        self._home, self._names, self._authority, self._clock, self._say = home, names, authority, clock, say
        self._stopping = threading.Event()
        self._failures = 0

    def start(self) -> None:
        threading.Thread(target=self._run, name="certificates", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()

    def turn(self) -> float:
        """Renews what is due; seconds until the next look."""
        if not is_due(self._home.certificate, self._names, self._clock.now()):
            return LOOK_S
        try:
            made = self._authority().certify(self._names, self._show)
            write_whole(self._home.certificate, made, mode=0o600)
            self._failures = 0
            self._say(f"certified: {', '.join(self._names)}")
            return LOOK_S
        except Problem as problem:
            self._failures += 1
            pause = pause_s(self._failures)
            self._say(f"not certified, tried again in {pause:g} s: {problem.message}; try: {problem.hint}")
            return pause
        finally:
            for challenge in self._home.challenges.glob("*"):
                challenge.unlink(missing_ok=True)

    def _run(self) -> None:
        pause = 0.0
        while not self._clock.wait(self._stopping, pause):
            try:
                pause = self.turn()
            except Exception as error:  # said, and tried again: a thread that ends would let a certificate run out
                pause = LOOK_S
                self._say(f"not certified: {type(error).__name__}: {error}")

    def _show(self, token: str, text: str) -> None:
        self._home.challenges.mkdir(parents=True, exist_ok=True)
        write_whole(self._home.challenges / token, text.encode())


def is_due(path: Path, names: list[str], now: float) -> bool:
    """Whether there is no certificate for all of these names, or not for much longer."""
    from cryptography import x509  # slow to import, and most homes have no domain

    with contextlib.suppress(OSError, ValueError, x509.ExtensionNotFound):
        found = x509.load_pem_x509_certificate(path.read_bytes())
        said = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        begins, ends = found.not_valid_before_utc.timestamp(), found.not_valid_after_utc.timestamp()
        return set(names) - set(said.get_values_for_type(x509.DNSName)) != set() or now > ends - (ends - begins) / 3
    return True


def pause_s(failures: int) -> float:
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 4.0 ** min(failures - 1, 10))
