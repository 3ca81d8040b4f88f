"""`bough up`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from bough.entrypoints import supervision
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session
from bough.entrypoints.keeper import Keeper

_HELP = """Starts Bough on this machine.

A server (API), a gateway (requests) and a node (units) in processes of their own, and a keeper that starts them again
when they die. What runs already is left as it is. Ports and hosts are remembered in settings.toml of the home; a port
of 0 is a free one, which is said and remembered. With a host other than 127.0.0.1, services ask for a key unless they
say access = "public"."""


def run(
    session: Session,
    gateway_port: int | None,
    api_port: int | None,
    host: str | None,
    foreground: bool,
    tls_port: int | None,
    tls_certificate: str | None,
    tls_key: str | None,
    domains: tuple[str, ...],
    acme_email: str | None,
    acme_directory: str | None,
    public: bool | None,
) -> None:
    began = time.monotonic()
    home = session.home
    chosen: dict[str, Any] = {
        "gateway_port": gateway_port,
        "api_port": api_port,
        "gateway_host": host,
        "api_host": host,
        "tls_port": tls_port,
        "tls_certificate": _absolute(tls_certificate),
        "tls_key": _absolute(tls_key),
        "domains": list(domains) or None,
        "acme_email": acme_email,
        "acme_directory": acme_directory,
        "public_services": public,
    }
    wanted = {key: value for key, value in chosen.items() if value is not None}
    if foreground:
        _in_the_foreground(session, wanted, began)
        return
    up = supervision.bring_up(home, wanted, began)
    session.answer(up, text=_text(up))


def _in_the_foreground(session: Session, wanted: dict[str, Any], began: float) -> None:
    home = session.home
    supervision.prepare(home)
    supervision.configure(home, wanted)

    def told() -> bool:
        if up := supervision.describe(home, began):
            session.answer(up, text=_text(up))
        return up is not None

    try:
        Keeper(home).run(until=told)
    finally:
        supervision.take_down(home, units=False, say=session.note)


def _text(up: supervision.Up) -> str:
    how = f"is up after {up.seconds:.1f} s" if up.started else "is up already"
    later = "" if up.certified else "  once it is certified: bough logs server"
    encrypted = f"\n  TLS      {up.tls_url}{later}" if up.tls_url else ""
    return f"Bough {how}\n  gateway  {up.gateway_url}{encrypted}\n  API      {up.api_url}\n  home     {up.home}"


def _absolute(path: str | None) -> str | None:
    """The gateway does not start where this command was typed."""
    return str(Path(path).absolute()) if path else path


_PORT = click.IntRange(0, 65_535)
command = make(
    "up",
    _HELP,
    [
        click.Option(["--gateway-port"], type=_PORT, help="Where requests go.  [default: 7400]"),
        click.Option(["--api-port"], type=_PORT, help="Where this command line and the SDK go.  [default: 7401]"),
        click.Option(["--host"], metavar="ADDRESS", help="Address to listen on.  [default: 127.0.0.1]"),
        click.Option(
            ["--foreground"], is_flag=True, help="Stay, and stop everything but the units on Ctrl-C or SIGTERM."
        ),
        click.Option(["--tls-certificate"], metavar="FILE", help="PEM: speak TLS, too; read again when it changes."),
        click.Option(["--tls-key"], metavar="FILE", help="PEM: its private key, unless it is in the same file."),
        click.Option(["--tls-port"], type=_PORT, help="Where TLS is spoken.  [default: 7443]"),
        click.Option(
            ["--domain", "domains"],
            metavar="NAME",
            multiple=True,
            help="Have this name certified by an ACME authority, and again in time. May be given several times.",
        ),
        click.Option(["--acme-email"], metavar="ADDRESS", help="Whom the authority may write to."),
        click.Option(["--acme-directory"], metavar="URL", help="The authority.  [default: Let's Encrypt]"),
        click.Option(
            ["--public/--no-public"],
            default=None,
            help="Whether services may answer callers who show neither key nor token.  [default: --public]",
        ),
    ],
    run,
    examples="Examples:\n  bough up\n  bough up --gateway-port 8080\n"
    "  bough up --host 0.0.0.0 --gateway-port 80 --tls-port 443 --domain models.example.com",
)
