"""A model's card: everything that is known of a version on one page, as data, Markdown and HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from bough.registry.models import Version
from bough.registry.sbom import Vulnerability


class Happened(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event that spoke of the version: registered, signed, aliased, gates, approvals, promotion, drift."""

    at: float
    what: str
    by: str = ""
    why: str = ""
    data: dict[str, Any] = {}


class Card(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`trust`: signed, unsigned, or the code with which the environment refuses it. `serves`: where it does now.
    `promotions`: their steps, but for approvals. `drift`: what monitoring measured of it; `explanation`: the newest one
    that was attached."""

    version: Version
    trust: str
    trusted_by: str = ""
    serves: list[str] = []
    happened: list[Happened] = []
    gates: list[Happened] = []
    approvals: list[Happened] = []
    promotions: list[Happened] = []
    drift: list[Happened] = []
    explanation: dict[str, Any] | None = None
    packages: int = 0
    vulnerabilities: list[Vulnerability] = []


Rows = list[list[str]]
Section = tuple[str, str, Rows]  # title, text, table with a heading

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SHOWN_DIGITS = 12  # of a digest: enough to tell two apart
_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --dim: #5d6671; --line: #e3e6ea; --page: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --dim: #9aa4af; --line: #2c323a; --page: #14171c; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: var(--ink);
  background: var(--page); }
h2 { font-size: 1.15rem; margin: 2rem 0 .4rem; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: .3rem 1rem .3rem 0; border-bottom: 1px solid var(--line); }
td:last-child { overflow-wrap: anywhere; }
th { font-size: .85rem; color: var(--dim); }
.pairs td:first-child { width: 11rem; color: var(--dim); } .happened td:not(:last-child) { white-space: nowrap; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font: inherit; }
@media (max-width: 40rem) { .pairs td:first-child { width: 7rem; }
  .happened, .happened tbody, .happened tr { display: block; } .happened th { display: none; }
  .happened tr { border-bottom: 1px solid var(--line); padding: .3rem 0; }
  .happened td { display: inline; border: 0; padding-right: .6rem; }
  .happened td:last-child { display: block; } }
"""


def markdown(card: Card) -> str:
    parts = [f"# {_plain(card.version.reference)}"]
    for title, text, rows in sections(card):
        parts += [f"## {title}"] + ([text] if text else [])
        if rows:
            head, *body = [[_cell(each) for each in row] for row in rows]
            lines = [head, ["---"] * len(head), *body]
            parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(parts) + "\n"


def as_html(card: Card) -> str:
    """One page without scripts or anything from elsewhere."""
    title = html.escape(card.version.reference)
    parts = [f"<h1>{title}</h1>"]
    for name, text, rows in sections(card):
        parts.append(f"<h2>{html.escape(name)}</h2>")
        parts += [f"<pre>{html.escape(text)}</pre>"] if text else []
        parts += [_html_table(rows)] if rows else []
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    head += f"<title>{title}</title><style>{_STYLE}</style>"
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>'


def _html_table(rows: Rows) -> str:
    head, *body = rows
    kind = "pairs" if not any(head) else "happened" if head[0] == "When" else ""
    lines = [("th", head)] if any(head) else []
    cells = [
        "".join(f"<{tag}>{html.escape(each)}</{tag}>" for each in row)
        for tag, row in (*lines, *(("td", each) for each in body))
    ]
    return f'<table class="{kind}">{"".join(f"<tr>{row}</tr>" for row in cells)}</table>'


def sections(card: Card) -> list[Section]:
    """Those that have something to say."""
    version, facts = card.version, card.version.facts
    signature = version.signature
    found: list[Section] = [
        ("Version", version.description, _pairs(_about(card))),
        ("Where it comes from", "", _pairs(_origin(version))),
        ("Data", "", _table(["Kind", "Name", "Version", "Role"],
                            [[each.kind, each.name, each.version, each.role] for each in facts.inputs])),
        ("Metrics", "", _pairs([(name, f"{value:g}") for name, value in sorted(facts.metrics.items())])),
        ("Parameters", "", _pairs(sorted(facts.parameters.items()))),
        ("Inputs and outputs", "", _table(["", "Name", "Type", "Shape"], [
            [side, each.name, each.datatype, " by ".join("any" if size < 0 else str(size) for size in each.shape)]
            for side, tensors in (("input", signature.inputs), ("output", signature.outputs)) for each in tensors
        ] if signature else [])),
        ("What it looks at", _how(card.explanation), _importances(card.explanation)),
        ("Gates", "", _events(card.gates)),
        ("Approvals", "", _events(card.approvals)),
        ("Promotions", "", _events(card.promotions)),
        ("Drift", "", _events(card.drift)),
        ("Known against its packages", "", _table(["Advisory", "Package", "Fixed in", ""], [
            [each.id, f"{each.package} {each.version}", each.fixed, each.summary] for each in card.vulnerabilities
        ])),
        ("What happened", "", _events(card.happened)),
        ("Card", version.card, []),
    ]  # fmt: skip
    return [each for each in found if each[1] or each[2]]


def _about(card: Card) -> list[tuple[str, str]]:
    version = card.version
    known = {"signed": f"signed by {card.trusted_by}", "unsigned": "not signed"}
    signed = known.get(card.trust, f"refused: {card.trust}")
    return [
        ("Number", str(version.number)),
        ("Aliases", ", ".join(version.aliases)),
        ("Digest", version.digest),
        ("Files", f"{version.files:,}, {version.bytes:,} bytes"),
        ("Registered", f"{_moment(version.created_at)} by {version.by} in {version.environment}"),
        ("Trust", signed),
        ("Serves", ", ".join(card.serves)),
        ("Stage", version.stage if version.stage != "None" else ""),
        ("Tags", ", ".join(f"{key}={value}" for key, value in sorted(version.tags.items()))),
        ("Packages", f"{card.packages:,} (bough models sbom)" if card.packages else ""),
    ]


def _origin(version: Version) -> list[tuple[str, str]]:
    facts = version.facts
    return [
        ("Run", facts.run), ("Commit", facts.commit), ("Parent", facts.parent), ("Bundle", facts.bundle),
        ("Python environment", facts.python_environment), ("Source", version.source),
    ]  # fmt: skip


def _importances(explanation: dict[str, Any] | None) -> Rows:
    listed: Sequence[dict[str, Any]] = (explanation or {}).get("importances", [])
    rows = [[each["input"], f"{each['mean']:.4g}", f"± {each['spread']:.2g}"] for each in listed]
    return _table(["Input", "Importance", ""], rows)


def _how(explanation: dict[str, Any] | None) -> str:
    if not explanation:
        return ""
    how = f"{explanation['method']} on {explanation['rows']} rows"
    return f"{how}, {explanation['score']}: {explanation['baseline']:.4g}"


def _events(happened: Sequence[Happened]) -> Rows:
    rows = [[_moment(each.at), each.what, each.by, _detail(each)] for each in happened]
    return _table(["When", "What", "Who", ""], rows)


def _detail(each: Happened) -> str:
    """Why, and what else the event says, but for what that repeats and what a line has no room for."""
    said = [
        f"{_label(key)} {text}"
        for key, value in each.data.items()
        if value != each.why and (text := _value(key, value))
    ]
    return "; ".join(filter(None, (each.why, ", ".join(said))))


def _label(key: str) -> str:
    return key.removesuffix("_at").replace("_", " ")


def _value(key: str, value: Any) -> str:
    if isinstance(value, dict):  # digests of evidence by gate: which gates
        return " ".join(value) if all(_DIGEST.fullmatch(str(each)) for each in value.values()) else ""
    if isinstance(value, list):
        return " ".join(_value(key, each) for each in value if isinstance(each, str))
    if isinstance(value, bool) or value is None or value == "":
        return "yes" if value is True else ""
    if isinstance(value, float):
        return _moment(value) if key.endswith("_at") else f"{value:g}"
    return value[:_SHOWN_DIGITS] if isinstance(value, str) and _DIGEST.fullmatch(value) else str(value)


def _pairs(pairs: Sequence[tuple[str, str]]) -> Rows:
    return _table(["", ""], [[name, value] for name, value in pairs if value])


def _table(head: list[str], rows: Rows) -> Rows:
    """Without columns in which no row says anything."""
    used = [at for at in range(len(head)) if any(row[at] for row in rows)]
    return [[row[at] for at in used] for row in (head, *rows)] if rows else []


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


def _plain(text: str) -> str:
    return " ".join(text.split())
