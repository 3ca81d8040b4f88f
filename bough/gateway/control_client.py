"""What the control plane asks the gateway, through the socket that `control` answers at."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path
from typing import TypeVar

import msgspec

from bough.gateway.models import GatewayState, Heard, Silence, Traffic

REPLY_S = 5.0
Said = TypeVar("Said", GatewayState, Traffic, Heard)


def reload(control: Path) -> GatewayState | None:
    """Tells it that the routing table has changed, and hears what it says of itself; None when it does not answer."""
    return _ask(control, "POST", "/reload", GatewayState)


def state_of(control: Path) -> GatewayState | None:
    """What the gateway says of itself; None when it does not answer."""
    return _ask(control, "GET", "/state", GatewayState)


def traffic_of(control: Path) -> Traffic | None:
    """What it has answered since it began; None when it does not answer."""
    return _ask(control, "GET", "/traffic", Traffic)


def heard_at(control: Path, silence: Silence) -> Heard | None:
    """Whether one of the deployments is asked before the time is over; None when it does not answer."""
    return _ask(control, "POST", "/listen", Heard, silence)


def _ask(control: Path, method: str, path: str, kind: type[Said], silence: Silence | None = None) -> Said | None:
    connection = http.client.HTTPConnection("gateway", timeout=REPLY_S)
    try:
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(REPLY_S + (silence.timeout_s if silence else 0.0))
        connection.sock.connect(str(control))
        connection.request(method, path, msgspec.json.encode(silence) if silence else None)
        return msgspec.json.decode(connection.getresponse().read(), type=kind)
    except (OSError, http.client.HTTPException, msgspec.DecodeError):
        return None
    finally:
        connection.close()
