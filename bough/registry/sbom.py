"""The Python packages of a version, as a CycloneDX bill of materials, and what is known against them.

Packages are those that whoever registered the version declared (`facts.packages`, which the SDK fills from the process
that trained it), else the pinned lines of `pylock.toml` or `requirements.txt` among its files.
"""

from __future__ import annotations

import re
import tomllib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec
from packaging.version import InvalidVersion
from packaging.version import Version as PackageVersion

from bough.adapters.blobs import Blobs
from bough.data.models import File
from bough.kernel.errors import Problem
from bough.registry.models import Version

SPEC_VERSION = "1.6"
LIST_BYTES = 4 << 20  # longest requirements file that is read
_PINNED = re.compile(r"^\s*(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(\[[^\]]*\])?\s*==\s*(?P<version>[A-Za-z0-9.!+_-]+)")
_NAMESPACE = uuid.UUID("8a2f7f0e-0f0b-5d6a-9a0c-6d1f3b1f9f11")


class Vulnerability(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One advisory that a package of a version falls under. `fixed`: the first version that does not."""

    id: str
    package: str
    version: str
    summary: str = ""
    severity: str = ""
    fixed: str = ""
    aliases: list[str] = []


class Vulnerabilities(Protocol):
    """A database of advisories. Implementations must not reach for the network inside `known`."""

    def known(self, packages: Mapping[str, str]) -> list[Vulnerability]:
        """Those that these packages (name to version) fall under, by package."""


class NoVulnerabilities:
    """Where nobody has said where advisories are: nothing is known, which is not the same as: there is nothing."""

    def known(self, packages: Mapping[str, str]) -> list[Vulnerability]:
        return []


class OsvFolder:
    """A folder of advisories in the OSV format, one JSON file each, as osv.dev exports them for PyPI. Read when asked;
    a file that is not of this form is an error, not a gap."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def known(self, packages: Mapping[str, str]) -> list[Vulnerability]:
        found: list[Vulnerability] = []
        wanted = {_normal(name): (name, version) for name, version in packages.items()}
        for path in sorted(self._folder.rglob("*.json")):
            try:
                advisory = msgspec.json.decode(path.read_bytes(), type=_Advisory)
            except msgspec.MsgspecError as error:
                raise Problem(
                    f"{path} is no advisory in the OSV format: {error}", code="OSV_INVALID", hint=f"rm {path}"
                ) from error
            for affected in advisory.affected if not advisory.withdrawn else ():
                named = wanted.get(_normal(affected.package.name))
                if named is not None and affected.package.ecosystem == "PyPI" and _is_affected(affected, named[1]):
                    found.append(_vulnerability(advisory, affected, *named))
        return sorted(found, key=lambda each: (each.package, each.id))


class _Package(msgspec.Struct, frozen=True):
    name: str
    ecosystem: str


class _Range(msgspec.Struct, frozen=True):
    type: str
    events: list[dict[str, str]] = []


class _Affected(msgspec.Struct, frozen=True):
    package: _Package
    versions: list[str] = []
    ranges: list[_Range] = []


class _Advisory(msgspec.Struct, frozen=True):
    id: str
    summary: str = ""
    withdrawn: str = ""
    aliases: list[str] = []
    severity: list[dict[str, str]] = []
    affected: list[_Affected] = []


def packages_of(version: Version, files: Sequence[File], blobs: Blobs) -> dict[str, str]:
    """Name to version; empty when nobody said."""
    if version.facts.packages:
        return dict(sorted(version.facts.packages.items()))
    for name, parse in (("pylock.toml", _locked), ("requirements.txt", _required)):
        named = (each for each in files if each.path.rpartition("/")[2] == name and each.size <= LIST_BYTES)
        for file in named:
            if found := parse(blobs.read(file.digest).decode("utf-8", "replace")):
                return dict(sorted(found.items()))
    return {}


def cyclonedx(
    version: Version, files: Sequence[File], packages: Mapping[str, str], known: Iterable[Vulnerability], tool: str
) -> dict[str, Any]:
    """The document; the same version always has the same serial number."""
    model = f"model:{version.reference}"
    refs = {name: f"pkg:pypi/{_normal(name)}@{number}" for name, number in packages.items()}
    at = datetime.fromtimestamp(version.created_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    described: dict[str, Any] = {
        "bom-ref": model, "type": "machine-learning-model", "name": version.name, "version": str(version.number),
        "hashes": [{"alg": "SHA-256", "content": version.digest}],
    }  # fmt: skip
    described["components"] = [
        {"bom-ref": f"file:{each.path}", "type": "file", "name": each.path,
         "hashes": [{"alg": "SHA-256", "content": each.digest}]}
        for each in files
    ]  # fmt: skip
    document: dict[str, Any] = {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC_VERSION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, version.id)}",
        "version": 1,
        "metadata": {
            "timestamp": at,
            "tools": {"components": [{"type": "application", "name": "bough", "version": tool}]},
            "component": described,
        },
        "components": [
            {"bom-ref": refs[name], "type": "library", "name": name, "version": number, "purl": refs[name]}
            for name, number in packages.items()
        ],
        "dependencies": [{"ref": model, "dependsOn": sorted(refs.values())}],
    }
    if listed := list(known):
        document["vulnerabilities"] = [
            {"id": each.id, "source": {"name": "OSV", "url": f"https://osv.dev/vulnerability/{each.id}"},
             "description": each.summary, "affects": [{"ref": refs[each.package]}]}
            for each in listed
        ]  # fmt: skip
    return document


def _locked(text: str) -> dict[str, str]:
    try:
        packages = tomllib.loads(text).get("packages", [])
    except tomllib.TOMLDecodeError:
        return {}
    return {each["name"]: each["version"] for each in packages if "name" in each and "version" in each}


def _required(text: str) -> dict[str, str]:
    found = (_PINNED.match(line) for line in text.splitlines())
    return {each["name"]: each["version"] for each in found if each}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _is_affected(affected: _Affected, version: str) -> bool:
    if version in affected.versions:
        return True
    try:
        mine = PackageVersion(version)
        return any(_in_range(each, mine) for each in affected.ranges if each.type == "ECOSYSTEM")
    except InvalidVersion:
        return False


def _in_range(within: _Range, mine: PackageVersion) -> bool:
    """Events in the order of their versions switch between affected and not."""
    inside = False
    points = [(kind, text) for event in within.events for kind, text in event.items() if kind != "limit"]
    order = {"introduced": 0, "fixed": 1, "last_affected": 2}
    for kind, text in sorted(points, key=lambda each: (_number(each[1]), order.get(each[0], 3))):
        at = _number(text)
        if kind == "introduced" and mine >= at:
            inside = True
        elif (kind == "fixed" and mine >= at) or (kind == "last_affected" and mine > at):
            inside = False
    return inside


def _number(text: str) -> PackageVersion:
    return PackageVersion("0" if text == "0" else text)


def _vulnerability(advisory: _Advisory, affected: _Affected, name: str, version: str) -> Vulnerability:
    fixed = [_number(event["fixed"]) for each in affected.ranges for event in each.events if "fixed" in event]
    later = sorted(each for each in fixed if each > PackageVersion(version)) if fixed else []
    return Vulnerability(
        id=advisory.id, package=name, version=version, summary=advisory.summary,
        severity=next((each.get("score", "") for each in advisory.severity), ""),
        fixed=str(later[0]) if later else "", aliases=advisory.aliases,
    )  # fmt: skip
