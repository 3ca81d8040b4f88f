"""`bough scale simulate`: a trace through the rule that scales services, with a picture. Needs no running Bough."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from bough.entrypoints.cli.drawing import columns_of
from bough.entrypoints.cli.options import Picture, environment
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.pictures import curve, svg
from bough.entrypoints.cli.session import Session, find_project, load_project
from bough.kernel.errors import Invalid, NotFound
from bough.kernel.files import save
from bough.kernel.scale import MOST, Scale
from bough.scaling import traces
from bough.scaling.replaying import FOLLOWED, POLICIES, Simulate, Simulation, replayed

_LAST = 20  # changes that are listed


def run(
    session: Session, trace: str, policy: str, picture: Path | None, service: str, environment: str,
    signals: str | None, step: Sequence[str], **given: Any,
) -> None:  # fmt: skip
    fields = {name: given.pop(name) for name in ("service_s", "slots", "start_s")}
    scale = {name: value for name, value in given.items() if value is not None}
    if signals is not None:
        scale["signals"] = [each for each in signals.split(",") if each]
    if step:
        scale["steps"] = [_step(each) for each in step]
    present = msgspec.to_builtins(_of_project(service, environment)) if service else {}
    if policy != POLICIES[0]:  # a comparison with what the file has: the rest of it is for our rule alone
        present = {name: value for name, value in present.items() if name in FOLLOWED}
    found = replayed(_request(_text_of(trace), Path(trace).name, policy, {**present, **scale}, fields))
    if picture:
        marks = [(each.at, each.why) for each in found.changes if ">=" in each.why]
        save(picture, svg(f"{found.name}: {found.policy}", found.curve, marks))
    session.answer(msgspec.to_builtins(found), text=_text(found) + (f"\n\n{picture}" if picture else ""))


def _request(text: str, name: str, policy: str, scale: dict[str, Any], fields: dict[str, Any]) -> Simulate:
    if scale.get("steps"):
        scale = {"max": MOST, **scale, **({"max": MOST} if not scale.get("max") else {})}
    try:
        return msgspec.convert({"trace": text, "name": name, "policy": policy, "scale": scale, **fields}, Simulate)
    except msgspec.ValidationError as error:
        raise Invalid(f"this cannot be simulated: {error}", code="SIMULATION_INVALID",
                      hint="bough scale simulate --help") from error  # fmt: skip


def _of_project(service: str, environment: str) -> Scale:
    services = load_project(find_project(Path.cwd()), environment).services
    if service not in services:
        known = ", ".join(services) or "none"
        raise NotFound(f"there is no service {service!r}; the project has {known}", code="SERVICE_NOT_FOUND",
                       hint=f"add [services.{service}] to bough.toml")  # fmt: skip
    return services[service].scale


def _text_of(trace: str) -> str:
    """Of a file or a pipe, no more than is read of it; a byte that is no UTF-8 is told with its line."""
    try:
        with Path(trace).open("rb") as file:
            packed = file.peek(2)[:2] == b"\x1f\x8b"
            content = (gzip.GzipFile(fileobj=file) if packed else file).read(traces.MOST_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFound(
            f"there is no file {trace}", code="TRACE_NOT_FOUND", hint="bough scale simulate --help"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise Invalid(f"{trace} cannot be read: {error}", code="TRACE_INVALID", hint=f"file {trace}") from error
    return content.decode("utf-8", "replace")


def _step(text: str) -> dict[str, Any]:
    signal, _, rest = text.partition(">=")
    reaches, _, add = rest.partition("+")
    try:
        return {"signal": signal.strip(), "reaches": float(reaches), "add": int(add)}
    except ValueError as error:
        raise Invalid(f"{text!r} is no step", code="STEP_INVALID", hint="--step 'queue>=10 +2'") from error


def _text(found: Simulation) -> str:
    mean, least = found.cost / found.seconds, found.least / found.seconds
    active = max(each.active for each in found.curve)
    lines = [
        f"{found.name}: {found.requests} requests in {found.seconds} s, policy {found.policy}",
        f"  replicas  {mean:.2f} in the mean, of those in the pool a tenth; nobody does with less than {least:.2f}",
        f"            {active} answer at most, {found.most} with those that start or wait in the pool",
        f"  late      {100 * found.late:.3f} % of requests; {found.mean_wait_s:.3f} s waited in the mean",
        "",
        curve(found.curve),
    ]
    if found.reasons:
        rows = [["AT", "ANSWER", "WAIT", "WHY", "LATE COST", "NEEDS"]]
        for each in found.changes[-_LAST:]:
            needs = " ".join(f"{name}={value:.2f}" for name, value in each.needs.items())
            late = f"{each.late_cost:.1f}" if each.late_cost else ""
            rows.append([f"{each.at:.0f} s", str(each.active), str(each.pool), each.why, late, needs])
        said = ", ".join(f"{why} {count}" for why, count in found.reasons.items())
        lines += ["", f"changes of the number of replicas: {said}", columns_of(rows)]
    return "\n".join(lines)


command = make(
    "simulate",
    "Replays traffic through the rule that scales services.\n\nTRACE holds the requests of each second, one number a "
    "line, or SECONDS,SERVICE for each request, or TIME,REQUESTS for each second below a heading such as second,count; "
    "it may be gzipped, or a pipe. Says what the replicas would have cost and how many requests would have waited too "
    "long, with --service under the settings of bough.toml and what is given beside them. Other policies are "
    "simulated as their documentation describes them, between --min and --max. Needs no running Bough.",
    [
        click.Argument(["trace"], metavar="TRACE", help="The file."),
        click.Option(["--service"], default="", metavar="NAME", help="Takes `scale` of this one in bough.toml."),
        environment(),
        click.Option(["--policy"], type=click.Choice(POLICIES), default="bough", show_default=True, help="Whose rule."),
        click.Option(["--service-s"], type=float, default=0.1, show_default=True, help="That a request takes."),
        click.Option(["--slots"], type=int, default=1, show_default=True, help="Requests at once in one replica."),
        click.Option(["--start-s"], type=float, default=30.0, show_default=True, help="Until a replica answers."),
        click.Option(["--warm"], type=int, help="Pool at most; -1, without it: learnt."),
        click.Option(["--target"], type=float, help="Seconds a request may wait; 1 without it."),
        click.Option(["--late-cost"], type=float, help="Of a late request; the usual without it."),
        click.Option(["--min"], type=int, help="Replicas at least; 1 without it."),
        click.Option(["--max"], type=int, help="At most; any number without it."),
        click.Option(["--signals"], metavar="A,B", help="That the rule asks; all without it, '' for steps alone."),
        click.Option(["--step"], multiple=True, metavar="'SIGNAL>=VALUE +N'", help="Adds N replicas from VALUE on."),
        click.Option(["--picture"], type=Picture(), metavar="FILE.svg", help="Draw the curve into a file."),
    ],
    run,
    examples="Examples:\n  bough scale simulate requests.csv --service-s 0.5 --policy kpa\n"
    "  bough scale simulate requests.csv --service churn --step 'queue>=10 +2' --step 'queue>=100 +8'",
)  # fmt: skip
