"""Forgetting somebody in the requests that services keep."""

from __future__ import annotations

from pathlib import Path

from bough.gateway.taps import kept
from bough.kernel.subjects import REWRITTEN, Named, Reached, Subject


def reach(traffic: Path, subject: Subject) -> Reached:
    if not subject.texts:
        return Reached()
    found = kept.forget(traffic / "kept", subject.project, subject.is_in, dry_run=subject.dry_run)
    return Reached(
        done=[
            Named(kind="kept requests", key=f"{file}: {count} of them", done=REWRITTEN) for file, count in found.items()
        ]
    )
