"""Things and the edges between them, as data."""

from __future__ import annotations

import msgspec

VERSION, RUN, PARAMETERS = "version", "run", "parameters"
DATASET, TABLE, FEATURE_VIEW = "dataset", "table", "feature_view"
COMMIT, BUNDLE, PYTHON_ENVIRONMENT = "commit", "bundle", "python_environment"
RELEASE, DEPLOYMENT, SERVICE = "release", "deployment", "service"
OUTSIDE, JOB = "outside", "job"  # datasets and jobs that only others know


class Thing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`id` stays for life, `name` is what people call it now. `version` is one state of it."""

    id: str
    kind: str
    name: str
    project: str = ""
    version: str = ""
    details: dict[str, str] = {}


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """`target` was made with `source`; `how` in a word or two."""

    source: Thing
    target: Thing
    how: str = ""


class Arrow(msgspec.Struct, frozen=True, kw_only=True):
    """A edge by the ids of its ends."""

    source: str
    target: str
    how: str = ""


class Lineage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was found around `start`. `more`: ids of things that have edges beyond what was asked for. `svg`: the
    same as a picture, when it was asked for."""

    start: str
    things: list[Thing]
    arrows: list[Arrow]
    more: list[str] = []
    svg: str = ""


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """What an event told: `edges` that it names, of which `new` were not known."""

    edges: int
    new: int
