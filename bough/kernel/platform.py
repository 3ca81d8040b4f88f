"""Settings of one Bough on one machine: `settings.toml` in its home, written by `bough up`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from bough.kernel.settings import Document

FILE_NAME = "settings.toml"
_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?=.{{4,253}}\Z)(?:{_LABEL}\.)+(?=[a-z]){_LABEL}", re.IGNORECASE)
Price = Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]


class PoolSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[pools.NAME]`: where jobs can run beside this machine."""

    kind: Literal["spot", "on-demand"]
    provider: Literal["local", "replay"] = "local"
    zones: dict[str, Price]  # price per hour by zone
    accelerators: list[str] = []  # what a machine has, one of these, as in h100:2; empty: none
    cpus: Annotated[float, msgspec.Meta(ge=0, le=10_000)] = 0.0  # cores of a machine, for the price of one; 0: not said
    work_rate: Annotated[float, msgspec.Meta(gt=0, le=1000)] = 1.0  # seconds of work that it does in a second
    notice_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 120.0  # replay: of the market, before a machine goes
    trace: str = ""  # replay: file with availability; empty: made up
    seed: int = 0  # replay: of what is made up
    speed: Annotated[float, msgspec.Meta(gt=0, le=100_000)] = 1.0  # hours of the pool's market in an hour


class Platform(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    gateway_host: str = "127.0.0.1"
    gateway_port: int = 7400
    api_host: str = "127.0.0.1"
    api_port: int = 7401
    tls_port: int = 7443  # listened on where there is a certificate
    tls_certificate: str = ""  # PEM files that somebody else renews …
    tls_key: str = ""
    domains: list[str] = []  # … or names that an ACME authority certifies for us
    acme_email: str = ""
    acme_directory: str = ""  # empty: Let's Encrypt
    acme_trust: str = ""  # PEM file: who signed the directory's own certificate, where that is a private authority
    public_services: bool = True  # False: no service answers who shows neither key nor token, whatever it says
    personal: bool = False  # of `bough dev`: nobody else calls what it serves
    job_queues: dict[str, float] = {}  # weights; of a queue that is not named: 1
    pools: dict[str, PoolSettings] = {}

    @property
    def core_hour(self) -> float:
        """What a core costs for an hour where nobody takes it away, by the price book; 0: it does not say."""
        told = (
            pool for pool in self.pools.values() if pool.kind == "on-demand" and pool.cpus and not pool.accelerators
        )
        return min((price / pool.cpus for pool in told for price in pool.zones.values()), default=0.0)

    @property
    def own_ports(self) -> set[int]:
        """Where no service can listen by itself."""
        return {self.gateway_port, self.api_port, self.tls_port}

    @property
    def gateway_url(self) -> str:
        return f"http://{_reachable(self.gateway_host)}:{self.gateway_port}"

    @property
    def has_tls(self) -> bool:
        return bool(self.tls_certificate or self.domains)

    @property
    def tls_url(self) -> str:
        """Empty where nothing is encrypted."""
        name = self.domains[0] if self.domains else _reachable(self.gateway_host)
        return f"https://{name}:{self.tls_port}" if self.has_tls else ""

    @property
    def api_url(self) -> str:
        return f"http://{_reachable(self.api_host)}:{self.api_port}"

    @property
    def gateway_is_local(self) -> bool:
        return is_local(self.gateway_host)

    def access_of(self, access: str) -> str:
        """What a service's `access` comes to here. Where nothing may be public, what says so asks for a key: a release
        that says it is refused before (`environments`), and what served already is shut."""
        if access not in ("auto", "public"):
            return access
        if not self.public_services:
            return "key"
        return "public" if access == "public" or self.gateway_is_local else "key"


class Home:
    """Where one Bough keeps everything; each place is written here and nowhere else."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run = path / "run"  # sockets, pids, the routing table
        self.trees = self.run / "trees"  # what `bough data run` gives to a program
        self.logs = path / "logs"
        self.blobs = path / "blobs"
        self.builds = path / "builds"
        self.views = path / "data"  # what units see of datasets
        self.models = path / "models"  # what units see of registered models
        self.repositories = path / "git"  # what was pushed, a bare repository per project
        self.tables = path / "tables"  # what running queries and changes write, before it becomes blobs
        self.certificate = path / "tls" / "certificate.pem"  # with its key: what an ACME authority has certified
        self.acme_account = path / "tls" / "account.pem"
        self.challenges = self.run / "acme"  # texts that an authority looks for, by token
        self.capacity = path / "capacity"  # what is leased of which pool
        self.traffic = path / "traffic"  # requests that are kept, and what mirrors and replays have found
        self.databases = path / "databases"  # of users; see docs/databases.md
        self.database = path / "bough.db"
        self.tracking = path / "tracking.db"  # what runs report
        self.queues = path / "queues.db"  # items that wait, and what came of them
        self.token = path / "token"
        self.table = self.run / "routes.json"
        self.node_socket = self.run / "node.sock"
        self.gateway_socket = self.run / "gateway.sock"


def default_home() -> Path:
    return Path(os.environ.get("BOUGH_HOME") or Path.home() / ".bough")


def load(home: Path) -> Platform:
    path = home / FILE_NAME
    if not path.exists():
        return Platform()
    document = Document.read(path, str(path))  # somebody may have several homes
    return document.decode((), document.data, Platform)


def save(home: Path, platform: Platform) -> None:
    values = msgspec.to_builtins(platform)
    pools = values.pop("pools")
    lines = [f"{key} = {_toml(value)}\n" for key, value in values.items()]
    for name, pool in pools.items():
        lines += [f"\n[pools.{_toml(name)}]\n", *(f"{key} = {_toml(value)}\n" for key, value in pool.items())]
    temporary = home / f".{FILE_NAME}.{os.getpid()}"
    temporary.write_text("".join(lines), "utf-8")
    temporary.replace(home / FILE_NAME)


def _toml(value: Any) -> str:
    """JSON is TOML, but for tables."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_toml(key)} = {_toml(each)}" for key, each in value.items()) + " }"
    return msgspec.json.encode(value).decode()


def wrong(platform: Platform) -> tuple[str, str] | None:
    """What of these settings nobody can follow, and what to type instead; None: nothing."""
    if platform.tls_key and not platform.tls_certificate:
        return "a key for TLS is nothing without its certificate", "bough up --tls-certificate FILE --tls-key FILE"
    for name in platform.domains:
        if not _DOMAIN.fullmatch(name):
            said = f"{name!r} is no name that an authority certifies by asking for it over HTTP"
            return said, "bough up --domain models.example.com, once for each name; no address, and no *"
    if platform.acme_directory and not platform.acme_directory.startswith(("https://", "http://")):
        return f"{platform.acme_directory!r} is no address of an authority", "bough up --acme-directory https://…"
    if platform.acme_email and not re.fullmatch(r"[^@\s]+@[^@\s]+", platform.acme_email):
        return f"{platform.acme_email!r} is no address for mail", "bough up --acme-email ops@example.com"
    return None


def is_local(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    return host in ("127.0.0.1", "::1", "localhost")


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared, not bound
