"""Models and their versions as data."""

from __future__ import annotations

from typing import Any

import msgspec

from bough.runtime.frames import Tensor

Place = tuple[str, str]  # project, environment
STAGES = ("None", "Staging", "Production", "Archived")


class ModelSignature(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Types and shapes of what a model takes and gives."""

    inputs: list[Tensor] = []
    outputs: list[Tensor] = []


class Input(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Something that a version was made from. `kind`: dataset, table, feature_view, or any other word."""

    kind: str
    name: str
    version: str = ""  # table version, #change, tag, …
    digest: str = ""
    role: str = ""  # training, evaluation, …


class Facts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Where a version comes from, as far as whoever registered it said so."""

    run: str = ""
    commit: str = ""
    bundle: str = ""  # digest
    python_environment: str = ""  # digest of the lock
    parent: str = ""  # the version that it was trained on from, as NAME/NUMBER
    inputs: list[Input] = []
    parameters: dict[str, str] = {}
    metrics: dict[str, float] = {}
    packages: dict[str, str] = {}  # of Python, where it was trained: name to version
    more: dict[str, Any] = {}  # of whoever registers, kept as it is


class SignedBy(msgspec.Struct, frozen=True, kw_only=True):
    """One signing of a version; `bundle` is the digest of the Sigstore bundle."""

    key: str
    signer: str
    at: float
    by: str
    bundle: str


class Model(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`newest` is the highest number that the environment sees; 0: no version yet."""

    name: str
    created_at: float
    updated_at: float
    by: str
    newest: int = 0
    description: str = ""
    tags: dict[str, str] = {}
    aliases: dict[str, int] = {}


class Version(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`digest` is that of the list of its files, which is a blob. Only description, tags, stage and aliases can
    change."""

    id: str
    name: str
    number: int
    digest: str
    files: int
    bytes: int
    created_at: float
    updated_at: float
    by: str
    environment: str  # where it was registered
    source: str = ""
    description: str = ""
    tags: dict[str, str] = {}
    stage: str = STAGES[0]
    aliases: list[str] = []
    signature: ModelSignature | None = None
    facts: Facts = Facts()
    card: str = ""
    signed: list[SignedBy] = []

    @property
    def reference(self) -> str:
        return f"{self.name}/{self.number}"


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A version before it has a number; its blobs are there. `signed`: without when and by whom."""

    digest: str
    files: int
    bytes: int
    signature: ModelSignature | None = None
    facts: Facts = Facts()
    card: str = ""
    source: str = ""
    description: str = ""
    tags: dict[str, str] = {}
    aliases: list[str] = []
    signed: list[SignedBy] = []


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a search; `more` continues it, empty at the end."""

    versions: list[Version]
    more: str = ""


class Signer(msgspec.Struct, frozen=True, kw_only=True):
    """A key under a name. `state`: active, retired (what it signed holds), revoked (what it signed does not).
    `automatic`: it signs whatever is registered. A `public` one is known by its public key alone."""

    project: str
    key: str
    name: str
    provider: str
    reference: str
    public_key: str
    state: str
    automatic: bool
    created_at: float
    by: str
    ended_at: float
    why: str


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """Which signers an environment accepts (none named: all of the project), and whether a version must be signed.
    `environment` is empty where the project's own rule holds."""

    project: str
    environment: str
    signers: list[str]
    required: bool


class Verification(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`state`: signed, unsigned. All files were read and are what was registered."""

    model: str
    digest: str
    state: str
    files: int
    bytes: int
    seconds: float
    signer: str = ""
    key: str = ""
    signed_at: float = 0.0
