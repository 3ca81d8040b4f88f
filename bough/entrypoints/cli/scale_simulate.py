"""`bough scale simulate`: a trace through the rule that scales services, with a picture."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import click

from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.pictures import curve, svg
from bough.entrypoints.cli.session import Session
from bough.kernel.errors import NotFound
from bough.kernel.files import write_whole

POLICIES = ("bough", "kpa", "hpa-cpu", "hpa-concurrency", "ray-serve", "target-tracking", "keep-alive")


def run(
    session: Session, trace: str, policy: str, picture: str | None, warm: int, late_cost: float, target: float,
    least: int, most: int, **fields: Any,
) -> None:  # fmt: skip
    path = Path(trace)
    if not path.is_file():
        raise NotFound(f"there is no file {trace}", code="TRACE_NOT_FOUND", hint="bough scale simulate --help")
    content = path.read_bytes()
    text = (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode("utf-8", "replace")
    scale = {"warm": warm, "late_cost": late_cost, "target": target, "min": least, "max": most}
    found = session.client().scale.simulate(trace=text, name=path.name, policy=policy, scale=scale, **fields)
    if picture:
        title = f"{found.name}: {found.policy}"
        write_whole(Path(picture), svg(title, found.curve).encode())
    session.answer(found, text=_text(found) + (f"\n\n{picture}" if picture else ""))


def _text(found: Any) -> str:
    mean, least = found.cost / found.seconds, found.least / found.seconds
    return "\n".join(
        [
            f"{found.name}: {found.requests} requests in {found.seconds} s, policy {found.policy}",
            f"  replicas  {mean:.2f} in the mean, {found.most} at most; nobody does with less than {least:.2f}",
            f"  late      {100 * found.late:.3f} % of requests; {found.mean_wait_s:.3f} s waited in the mean",
            "",
            curve(found.curve),
        ]
    )


command = make(
    "simulate",
    "Replays traffic through the rule that scales services.\n\nTRACE holds the requests of each second, one number a "
    "line, or SECONDS,SERVICE for each request; it may be gzipped. Says what the replicas would have cost and how many "
    "requests would have waited too long. Other policies are simulated as their documentation describes them.",
    [
        click.Argument(["trace"], metavar="TRACE", help="The file."),
        click.Option(["--policy"], type=click.Choice(POLICIES), default="bough", show_default=True, help="Whose rule."),
        click.Option(["--service-s"], type=float, default=0.1, show_default=True, help="That a request takes."),
        click.Option(["--slots"], type=int, default=1, show_default=True, help="Requests at once in one replica."),
        click.Option(["--start-s"], type=float, default=30.0, show_default=True, help="Until a replica answers."),
        click.Option(["--warm"], type=int, default=-1, show_default=True, help="Pool at most; -1: learnt."),
        click.Option(["--target"], type=float, default=1.0, show_default=True, help="Seconds a request may wait."),
        click.Option(["--late-cost"], type=float, default=0.0, show_default=True, help="Of a late request; 0: usual."),
        click.Option(["--min", "least"], type=int, default=1, show_default=True, help="Replicas at least."),
        click.Option(["--max", "most"], type=int, default=0, show_default=True, help="At most; 0: any number."),
        click.Option(["--picture"], metavar="FILE.svg", help="Draw the curve into a file."),
    ],
    run,
    examples="Example:\n  bough scale simulate requests.csv --service-s 0.5 --policy kpa",
)  # fmt: skip
