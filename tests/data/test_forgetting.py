"""Words that name somebody are in nothing that was said to Bough any more, or it is said where they still are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bough.adapters.queue import DEAD, Draft, Outcome, Round, Take
from bough.adapters.queue.sqlite import SqliteQueues
from bough.gateway.taps import kept
from bough.kernel.errors import Invalid, NotFound
from bough.kernel.subjects import Subject
from tests.plane import Plane

ADA, OTHER = "ada.canary@example.com", "bob.other@example.com"
KEYS = {ADA: "customer-4711", OTHER: "customer-4712"}  # what keys may say


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    made = Plane(tmp_path)
    made.call("projects.create", name="shop")
    yield made
    made.bough.stop()


def forget(plane: Plane, text: str = ADA, **fields: Any) -> Any:
    return plane.call("data.forget", project="shop", text=text, **fields)


def done(proof: Any) -> list[tuple[str, str]]:
    return sorted((each.kind, each.done) for each in proof.elsewhere)


def holds(plane: Plane, text: str = ADA) -> list[str]:
    """Files of the home that say it, databases' logs included."""
    files = [path for path in plane.bough.home.path.rglob("*") if path.is_file() and not path.is_symlink()]
    return sorted(str(path.relative_to(plane.bough.home.path)) for path in files if text.encode() in path.read_bytes())


def put(plane: Plane, owner: str, path: str, content: bytes) -> Any:
    fields = {"owner": owner, "path": path, "digest": plane.bough.blobs.put(content)}
    return plane.call("artifacts.put", project="shop", **fields)


def report(plane: Plane, who: str) -> str:
    """A run that says somebody wherever it can."""
    run = plane.call("runs.create", project="shop", name=f"for {who}").id
    values = {"params": {"customer": who, "rate": "0.1"}, "tags": {"note": f"asked by {who}, at noon", KEYS[who]: "x"}}
    metrics = [{"key": f"loss {KEYS[who]}", "value": 1.0, "timestamp_ms": 1, "step": 0}]
    plane.call("runs.log", project="shop", id=run, metrics=metrics, **values)
    put(plane, run, "rows.csv", f"email\n{who}\n".encode())
    return str(run)


def trace(plane: Plane, number: int, who: str) -> str:
    id = f"tr-{number:032x}"
    span = {"id": f"{number:016x}", "name": "answer", "started_ns": 1, "ended_ns": 2, "attributes": {"to": [who]}}
    plane.call("traces.add", project="shop", traces=[{"trace": id, "spans": [span]}])
    put(plane, id, "spans.json", json.dumps({"to": who}).encode())
    return id


def test_what_programs_have_reported_forgets_somebody_and_nobody_else(plane: Plane) -> None:
    mine, others = report(plane, ADA), report(plane, OTHER)
    said, kept_trace = trace(plane, 1, ADA), trace(plane, 2, OTHER)
    proof = forget(plane, also=[KEYS[ADA]])
    assert done(proof) == [("artifact", "deleted")] * 2 + [("run", "rewritten"), ("trace", "deleted")]
    assert proof.remains == [] and len(proof.deleted_blobs) == 2
    run = plane.call("runs.show", project="shop", id=mine)
    assert (run.name, run.params["customer"], run.params["rate"]) == ("for (erased)", "(erased)", "0.1")
    assert run.tags["note"] == "asked by (erased), at noon" and run.tags["(erased)"] == "x"
    assert [each.key for each in run.metrics] == ["loss (erased)"]
    assert plane.call("artifacts.list", project="shop", owner=mine) == []
    with pytest.raises(NotFound):
        plane.call("traces.show", project="shop", id=said)
    assert plane.call("runs.show", project="shop", id=others).params["customer"] == OTHER
    assert [each.path for each in plane.call("artifacts.list", project="shop", owner=others)] == ["rows.csv"]
    assert plane.call("traces.show", project="shop", id=kept_trace).spans
    assert forget(plane, also=[KEYS[ADA]]).elsewhere == [], "nothing is left to be done"
    plane.bough.stop()  # the databases' logs go with it
    assert holds(plane) == holds(plane, KEYS[ADA]) == [] != holds(plane, OTHER), (
        "the proof does not say the words either"
    )


def test_items_of_queues_go_but_for_one_that_runs(plane: Plane) -> None:
    queues, place = SqliteQueues(plane.bough.home.queues), ("shop", "main", "mails")
    bodies = [json.dumps({"to": who}).encode() for who in (ADA, OTHER, ADA, ADA)]
    ids = [
        each.id
        for each in queues.round(Round(drafts=[Draft(place=place, body=each) for each in bodies], now=1.0)).receipts
    ]
    [taken] = queues.round(Round(takes=[Take(place=place, owner="me", count=1, until=1e12)], now=2.0)).taken
    proof = forget(plane)
    assert done(proof) == [("queue item", "deleted")] * 2
    assert [f"item {ids[0]} of the queue main/mails runs" in each for each in proof.remains] == [True]
    assert [each.id for each in queues.after(place, "", 10)] == ids[:2]
    queues.round(Round(outcomes=[Outcome(taken=taken[0], state=DEAD, at=3.0, until=1e12)], now=3.0))
    assert forget(plane).remains == []
    assert [each.id for each in queues.after(place, "", 10)] == ids[1:2]
    queues.close()


def test_requests_that_services_keep_lose_those_that_name_somebody(plane: Plane) -> None:
    path = kept.file_of(plane.bough.home.traffic / "kept", "shop", "main", "churn")
    rule = kept.Keep(requests=10, days=1)
    fields: dict[str, Any] = {"at": 1.0, "api": "v1", "meta": "", "release": 1, "status": 200, "seconds": 0.1}
    lines = [
        kept.made(rule, b"k", id=who, body=json.dumps({"who": who}).encode(), answer=b"{}", **fields)
        for who in (OTHER, ADA, OTHER)
    ]
    kept.KeptFile(path).write(lines, rule, 1.0)
    assert done(forget(plane, dry_run=True)) == [("kept requests", "rewritten")]
    assert len(kept.read(path, 10, 2.0, 1)) == 3, "a dry run changes nothing"
    assert forget(plane).remains == []
    assert [each.id for each in kept.read(path, 10, 2.0, 1)] == [OTHER, OTHER]


def test_what_cannot_be_changed_is_named_with_what_to_type(plane: Plane) -> None:
    content = f"weights of {ADA}".encode()
    file = {"path": "model.bin", "digest": plane.bough.blobs.put(content), "size": len(content)}
    plane.call("models.register", project="shop", name="churn", files=[file])
    plane.call("files.commit", project="shop", dataset="people", files=[file], message=f"from {ADA}")
    (plane.bough.home.logs).mkdir(exist_ok=True)
    (plane.bough.home.logs / "server.log").write_text(f"GET /people/{ADA}\n")
    proof = forget(plane)
    said = "\n".join(proof.remains)
    assert "model churn/1 in main has it in model.bin" in said and "bough models delete churn/1 -e main" in said
    assert "file people/model.bin: bough data erase people" in said and "logs/server.log" in said
    assert f"blob {file['digest']}: used by models, the catalog" in said
    assert ("change", "rewritten") in done(proof)
    plane.call("models.delete", project="shop", model="churn/1")
    erased = plane.call("data.erase", project="shop", dataset="people")
    assert "used" in erased.remains[0] or "same content" in erased.remains[0], "the model's history still has it"


def test_a_file_that_is_erased_takes_equal_artifacts_with_it_and_names_the_models_made_of_it(plane: Plane) -> None:
    content = b"a picture"
    file = {"path": "ada.png", "digest": plane.bough.blobs.put(content), "size": len(content)}
    plane.call("files.commit", project="shop", dataset="faces", files=[file])
    run = plane.call("runs.create", project="shop").id
    put(plane, run, "example.png", content)
    weights = {"path": "model.bin", "digest": plane.bough.blobs.put(b"w"), "size": 1}
    facts = {"inputs": [{"kind": "dataset", "name": "faces"}]}
    plane.call("models.register", project="shop", name="churn", files=[weights], facts=facts)
    proof = plane.call("data.erase", project="shop", dataset="faces", path="ada.png")
    assert [each.key for each in proof.elsewhere] == [f"{run} example.png"]
    assert proof.deleted_blobs == [file["digest"]] and not plane.bough.blobs.has(file["digest"])
    assert [each for each in proof.remains if "model churn/1 in main was made from faces" in each] == proof.remains


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("to ada@b.cd.", True),
        ("ADA@B.CD", True),
        ("xada@b.cd", False),
        ("ada@b.cdx", False),
        (r'{"text": "\nada@b.cd"}', True),
        (json.dumps("zoë müller"), True),
        ("ZOË MÜLLER", True),
        (json.dumps("ZOË MÜLLER"), True),
        ("zoé müller", False),
        ("", False),
    ],
)
def test_whole_words_are_found_as_they_are_and_as_json_writes_them(content: str, names: bool) -> None:
    assert Subject(project="shop", texts=("ada@b.cd", "zoë müller")).is_in(content) is names


def test_a_word_is_found_across_the_pieces_in_which_a_file_is_read(tmp_path: Path) -> None:
    subject = Subject(project="shop", texts=(ADA,))
    for at in range((1 << 20) - len(ADA) - 1, (1 << 20) + 2):
        path = tmp_path / "large"
        path.write_bytes(b" " * at + ADA.encode() + b" " * 100)
        with path.open("rb") as stream:
            assert subject.is_in_stream(stream), at


def test_a_word_that_means_others_as_well_is_refused(plane: Plane) -> None:
    with pytest.raises(Invalid, match="too short"):
        forget(plane, "12")
