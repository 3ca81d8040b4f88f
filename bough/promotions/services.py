"""The services of a release that use a model, as they would be with another version of it."""

from __future__ import annotations

import msgspec

from bough.environments import rules
from bough.environments.models import Manifest, ModelPin, ServiceManifest
from bough.kernel.model_references import parse
from bough.promotions.models import CHAMPION


def pins(service: ServiceManifest) -> set[tuple[str, int, str]]:
    """Name, number and id of the registered versions that a service loads."""
    return {(each.name, each.version, each.id) for each in service.models.values()}


def following(service: ServiceManifest) -> dict[str, ModelPin]:
    """Those that a service loads because they are the champion; what it names by number is left alone."""
    registered = service.settings.registered
    return {key: pin for key, pin in service.models.items() if parse(registered[key]).alias == CHAMPION}


def with_version(manifest: Manifest, pin: ModelPin) -> dict[str, ServiceManifest]:
    """The services that follow the model's champion, with this version in its place."""
    found = {}
    for name, service in manifest.services.items():
        wanted = {key: pin for key, each in following(service).items() if each.name == pin.name}
        if wanted:
            found[name] = rules.with_digest(msgspec.structs.replace(service, models=service.models | wanted))
    return found


def changed(manifest: Manifest, services: dict[str, ServiceManifest]) -> Manifest:
    return msgspec.structs.replace(manifest, services=manifest.services | services)
