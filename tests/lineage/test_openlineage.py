"""The official client talks to Bough, and understands what Bough sends."""

from __future__ import annotations

import gzip
import http.client
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from bough.adapters.lineage import EventRefused
from bough.adapters.lineage.http import HttpReceiver, from_environment
from bough.kernel.errors import Invalid, Unavailable
from bough.lineage import loop
from tests.lineage.conftest import Official, event, names, register, show
from tests.lineage.test_operations import run
from tests.plane import Plane

# What a pipeline's author writes: an HttpTransport, and events from the client's own classes.
CLIENT = """
import sys
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import *
from openlineage.client.facet_v2 import schema_dataset
from openlineage.client.transport.http import ApiKeyTokenProvider, HttpCompression, HttpConfig, HttpTransport
url, token, packed = sys.argv[1:]
key = ApiKeyTokenProvider({"apiKey": token})
config = HttpConfig(url=url, auth=key, compression=HttpCompression.GZIP if packed else None)
client = OpenLineageClient(transport=HttpTransport(config))
run, job = Run("01941908-6ea3-7e3c-9ab5-1b1b1b1b1b1b"), Job("airflow", "clean")
fields = schema_dataset.SchemaDatasetFacet(fields=[schema_dataset.SchemaDatasetFacetFields("id", "int")])
reads = [InputDataset("s3://raw", "orders.csv", facets={"schema": fields})]
writes = [OutputDataset("bough://shop", "table/orders")]
for state, at in ((RunState.START, "2026-05-03T11:00:00Z"), (RunState.COMPLETE, "2026-05-03T12:00:00.5+00:00")):
    client.emit(RunEvent(eventTime=at, run=run, job=job, eventType=state, producer="p", inputs=reads, outputs=writes))
client.emit(JobEvent(eventTime=at, job=Job("airflow", "other"), producer="p", inputs=reads))
client.emit(DatasetEvent(eventTime=at, dataset=StaticDataset("s3://raw", "orders.csv"), producer="p"))
print("sent")
"""
# Reads events with the client's own classes, which refuse what the specification does not know.
READER = """
import importlib, json, sys
from openlineage.client import facet_v2
from openlineage.client.event_v2 import *

def facets(found):
    made = {}
    for name, facet in (found or {}).items():
        kind = facet["_schemaURL"].rpartition("/")[2]
        classes = [getattr(module, kind) for module in vars(facet_v2).values() if hasattr(module, kind)]
        fields = {key: value for key, value in facet.items() if not key.startswith("_")}
        made[name] = classes[0](**fields)
        assert made[name]._schemaURL == facet["_schemaURL"], (made[name]._schemaURL, facet["_schemaURL"])
    return made

for line in sys.stdin:
    said = json.loads(line)
    read = {key: [kind(each["namespace"], each["name"], facets=facets(each["facets"])) for each in said.pop(key)]
            for key, kind in (("inputs", InputDataset), ("outputs", OutputDataset))}
    run, job, schema = said.pop("run"), said.pop("job"), said.pop("schemaURL")
    run = Run(run["runId"], facets=facets(run["facets"]))
    job = Job(job["namespace"], job["name"], facets=facets(job["facets"]))
    made = RunEvent(**said | {"eventType": RunState(said["eventType"])}, run=run, job=job, **read)
    assert made.schemaURL == schema, (made.schemaURL, schema)
    print(job.name, [each.name for each in made.inputs], [each.name for each in made.outputs])
"""


def post(server: str, body: bytes, token: str, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(server.removeprefix("http://"), timeout=60)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("POST", "/api/v1/lineage", body, sent | ({"Authorization": f"Bearer {token}"} if token else {}))
    answer = connection.getresponse()
    read = json.loads(answer.read())
    connection.close()
    return answer.status, read


@pytest.mark.parametrize("packed", ["", "gzip"])
def test_the_official_client_works_unchanged(
    plane: Plane, official: Official, server: str, token: str, packed: str
) -> None:
    done = official(CLIENT, server, token, packed)
    assert done.stdout == "sent\n", done.stderr
    found = show(plane, "table:orders", up=True)
    assert names(found) == {"table orders", "job airflow/clean", "outside s3://raw/orders.csv"}
    assert [each.details["state"] for each in found.things if each.kind == "job"] == ["finished"]
    assert names(show(plane, "outside:s3://raw/orders.csv", down=True), "job") == {
        "job airflow/clean", "job airflow/other",
    }  # fmt: skip


def test_the_official_client_understands_what_is_sent(tmp_path: Path, official: Official) -> None:
    receiver = Kept()
    plane = plane_with(tmp_path, receiver)
    register(
        plane, run="run_1", commit="c" * 40, parent="other/3", parameters={"lr": "0.1"},
        inputs=[{"kind": "table", "name": "orders"}, {"kind": "dataset", "name": "images", "version": "#4"}],
    )  # fmt: skip
    plane.deploy('name = "shop"\n\n[services.churn]\nmodel = "service:Churn"\n')
    with plane.bough.database.write() as tx:
        loop.begin(tx)
    plane.let_pass(1)
    finish(plane, run(plane))
    plane.let_pass(6)
    done = official(READER, stdin="".join(f"{each}\n" for each in receiver.events))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "models/churn ['table/orders', 'dataset/images', 'model/other'] ['model/churn']",
        "releases/main [] ['service/main/churn']",
        "runs/churn ['dataset/images', 'table/orders'] ['logged_model/m-1']",
        "runs/churn ['dataset/images', 'table/orders'] ['logged_model/m-1']",
    ]


class Kept:
    """A receiver that remembers. `away` and `refuses` say what the next calls find."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.away = self.refuses = False
        self.calls = 0

    def send(self, event: bytes) -> None:
        self.calls += 1
        if self.away:
            raise Unavailable("it is away")
        if self.refuses:
            raise EventRefused("it will not have it")
        self.events.append(event.decode())


def plane_with(folder: Path, receiver: Kept) -> Plane:
    made = Plane(folder, receiver=receiver)
    made.call("projects.create", name="shop")
    return made


def outputs(receiver: Kept) -> list[tuple[str, str]]:
    """Name and version of what each event made."""
    made = [json.loads(each)["outputs"][0] for each in receiver.events]
    return [(each["name"], each["facets"]["version"]["datasetVersion"]) for each in made]


def finish(plane: Plane, made: Any, status: str = "finished") -> None:
    plane.call("runs.update", project="shop", id=made.id, status=status, ended_at=made.started_at + 60)


def told(receiver: Kept) -> list[tuple[str, str]]:
    """Run and state of each event about a run."""
    read = [json.loads(each) for each in receiver.events]
    tags = [({tag["key"]: tag["value"] for tag in each["run"]["facets"]["tags"]["tags"]}, each) for each in read]
    return [(said["name"], each["eventType"]) for said, each in tags if each["job"]["name"].startswith("runs/")]


def test_a_run_is_told_once_when_it_has_ended(tmp_path: Path) -> None:
    receiver = Kept()
    plane = plane_with(tmp_path, receiver)
    old, open_ = (plane.call("runs.create", project="shop", name=name) for name in ("old", "open"))
    finish(plane, old)
    with plane.bough.database.write() as tx:
        loop.begin(tx)
    plane.let_pass(6)
    made = plane.call("runs.create", project="shop", name="new")
    finish(plane, plane.call("runs.create", project="shop", name="quick"), "failed")
    plane.let_pass(6)
    assert told(receiver) == [("quick", "START"), ("quick", "FAIL")]
    finish(plane, open_, "killed")
    finish(plane, made)
    plane.let_pass(12)
    expected = [("open", "START"), ("open", "ABORT"), ("new", "START"), ("new", "COMPLETE")]
    assert told(receiver)[2:] == expected, "what had ended before there was a receiver is not told"
    plane.let_pass(12)
    assert len(receiver.events) == 6


def test_a_run_that_ended_while_no_server_ran_is_told_by_the_next(tmp_path: Path) -> None:
    plane = plane_with(tmp_path, Kept())
    made = plane.call("runs.create", project="shop", name="long")
    with plane.bough.database.write() as tx:
        loop.begin(tx)
    plane.let_pass(1)
    finish(plane, made)
    plane.bough.stop()
    received = Kept()
    following = Plane(tmp_path, receiver=received)
    following.let_pass(12)
    assert told(received) == [("long", "START"), ("long", "COMPLETE")]


def test_events_wait_for_a_receiver_that_is_away_and_keep_their_order(tmp_path: Path) -> None:
    receiver = Kept()
    plane = plane_with(tmp_path, receiver)
    receiver.away = True
    register(plane)
    register(plane, run="run_2")
    plane.let_pass(1)
    assert receiver.calls > 1
    assert receiver.events == []
    receiver.away = False
    plane.let_pass(61)
    assert outputs(receiver) == [("model/churn", "1"), ("model/churn", "2")]
    plane.let_pass(1)
    assert len(receiver.events) == 2


def test_what_was_registered_before_a_crash_is_sent_by_the_next_process(tmp_path: Path) -> None:
    receiver = Kept()
    receiver.away = True
    plane = plane_with(tmp_path, receiver)
    register(plane)
    plane.bough.stop()
    received = Kept()
    following = Plane(tmp_path, receiver=received)
    following.let_pass(61)
    assert outputs(received) == [("model/churn", "1")]


def test_what_did_not_happen_is_not_told(tmp_path: Path) -> None:
    receiver = Kept()
    plane = plane_with(tmp_path, receiver)
    with pytest.raises(Invalid):
        plane.call("models.register", project="shop", name="churn", files=[], facts={})
    plane.let_pass(1)
    assert receiver.calls == 0


def test_an_event_that_is_refused_does_not_hold_up_the_others(tmp_path: Path) -> None:
    receiver = Kept()
    plane = plane_with(tmp_path, receiver)
    receiver.refuses = True
    register(plane)
    plane.let_pass(1)
    receiver.refuses = False
    register(plane, run="run_2")
    plane.let_pass(1)
    assert outputs(receiver) == [("model/churn", "2")]


def test_the_backlog_is_bounded_and_the_oldest_go(tmp_path: Path) -> None:
    receiver = Kept()
    plane = plane_with(tmp_path, receiver)
    receiver.away = True
    with plane.bough.database.write() as tx:
        for number in range(loop.MOST_WAITING + 5):
            tx.execute(loop.lineage_outbox.insert().values(event=str(number), at=0.0))
        loop.add(tx, b"newest", 0.0)
        assert loop.waiting(tx) == loop.MOST_WAITING
        oldest = tx.execute(loop.lineage_outbox.select().order_by("seq").limit(1)).one()
    assert oldest.event == "6", "of 10,006 the first six have gone"


def test_without_a_receiver_nothing_is_kept(plane: Plane) -> None:
    register(plane)
    with plane.bough.database.read() as tx:
        assert loop.waiting(tx) == 0


def test_the_variables_of_the_specification_say_where_to() -> None:
    assert from_environment({}) is None
    assert from_environment({"OPENLINEAGE_URL": "http://x", "OPENLINEAGE_DISABLED": "true"}) is None
    assert isinstance(from_environment({"OPENLINEAGE_URL": "http://x"}), HttpReceiver)
    with pytest.raises(Invalid):
        from_environment({"OPENLINEAGE_URL": "marquez:5000"})


def test_one_bough_sends_to_another(plane: Plane, server: str, token: str) -> None:
    sent = json.dumps(event(writes=("s3://a x",))).encode()
    HttpReceiver(server, key=token).send(sent)
    assert names(show(plane, "job:airflow/clean")) == {"job airflow/clean", "outside s3://a/x"}
    with pytest.raises(EventRefused):
        HttpReceiver(server, key=token).send(b"{}")
    with pytest.raises(Unavailable):
        HttpReceiver(server, key="wrong").send(sent)
    with pytest.raises(Unavailable):
        HttpReceiver("http://127.0.0.1:1").send(sent)


def test_refusals_over_http_have_the_usual_shape(server: str, token: str) -> None:
    good = json.dumps(event()).encode()
    assert post(server, good, "")[0] == 401
    for body in (b"", b"[]", b"{", b'{"eventTime": 1}', b"\xff", b"[" * 100_000):
        status, answer = post(server, body, token)
        assert (status, answer["error"]["code"]) == (422, "EVENT_INVALID")
    for body, wanted in ((b"no gzip", 422), (gzip.compress(b" " * (32 << 20)), 413), (gzip.compress(good), 201)):
        assert post(server, body, token, content_encoding="gzip")[0] == wanted


ANYTHING = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False) | some.text(),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(suppress_health_check=list(HealthCheck))
@given(data=some.data())
def test_no_event_makes_the_server_fail(data: some.DataObject, server: str, token: str) -> None:
    sent = event(reads=("s3://a x",), writes=("bough://shop table/orders",))
    facets = some.dictionaries(some.sampled_from(["schema", "ownership", "symlinks", "version"]), ANYTHING)
    sent["job"] = {"namespace": "a", "name": data.draw(some.text()), "facets": data.draw(facets)}
    for key in data.draw(some.sets(some.sampled_from([*sent, "dataset"]), max_size=3)):
        sent[key] = data.draw(ANYTHING)
    assert post(server, json.dumps(sent).encode(), token)[0] in (201, 422)
