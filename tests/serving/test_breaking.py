"""What breaks callers of an API version, and what does not; and that a deploy which does is refused or said."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bough.adapters.engine.fake import Behaviour
from bough.kernel import events
from bough.runtime.frames import Signature
from bough.serving.breaking import differences
from tests.plane import Plane


def signature(takes: Any, gives: Any = str, **rest: Any) -> Signature:
    return Signature(mode="item", input=schema(takes), output=schema(gives), **rest)


def schema(kind: Any) -> dict[str, Any]:
    """As replicas publish it."""
    found: dict[str, Any] = msgspec.json.schema(kind)
    return found


@dataclass
class Visitor:
    name: str
    visits: int = 1


@dataclass
class WithMore:
    name: str
    visits: int = 1
    language: str = "en"


@dataclass
class Demanding:
    name: str
    language: str
    visits: int = 1


@dataclass
class WithoutVisits:
    name: str


@dataclass
class Strict:
    name: str
    visits: int


@dataclass
class Wider:
    name: str
    visits: float = 1


@dataclass
class Nested:
    visitor: Visitor
    tags: list[str] = field(default_factory=list)


@dataclass
class NestedDemanding:
    visitor: Demanding
    tags: list[str] = field(default_factory=list)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Visitor, Visitor),
        (Visitor, WithMore),
        (Visitor, Wider),
        (int, float),
        (int, int | None),
        (Literal["a"], Literal["a", "b"]),
        (Literal["a"], str),
        (list[int], list[float]),
        (Nested, Nested),
        (Visitor, Any),
    ],
)
def test_what_takes_more_than_before_breaks_nobody(before: Any, after: Any) -> None:
    assert differences(signature(before), signature(after)) == []


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (Visitor, Demanding, "input language must be given now"),
        (Visitor, WithoutVisits, "input visits is gone"),
        (Visitor, Strict, "input visits must be given now"),
        (Wider, Visitor, "input visits is integer, and was number"),
        (float, str, "the input is string, and was number"),
        (int | None, int, "the input may not be null any more"),
        (Literal["a", "b"], Literal["a"], "the input may not be 'b' any more"),
        (Nested, NestedDemanding, "input visitor.language must be given now"),
        (list[str], list[int], "input [] is integer, and was string"),
    ],
)
def test_what_callers_send_must_still_be_taken(before: Any, after: Any, said: str) -> None:
    assert said in differences(signature(before), signature(after))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (Visitor, WithoutVisits, "output visits is gone"),
        (int, float, "the output is number, and was integer"),
        (int, int | None, "the output may be null"),
        (Literal["a"], Literal["a", "b"], "the output may be 'b'"),
    ],
)
def test_what_callers_are_given_must_still_be_what_they_know(before: Any, after: Any, said: str) -> None:
    assert said in differences(signature(str, before), signature(str, after))


@pytest.mark.parametrize(("before", "after"), [(Visitor, WithMore), (float, int), (int | None, int)])
def test_more_fields_and_narrower_types_of_answers_break_nobody(before: Any, after: Any) -> None:
    assert differences(signature(str, before), signature(str, after)) == []


def test_a_stream_is_another_kind_of_answer() -> None:
    assert differences(signature(str), signature(str, streams=True)) == ["the answer is a stream now"]


def test_where_types_say_nothing_nothing_is_said() -> None:
    assert differences(Signature(mode="item"), signature(Visitor)) == []


_PLAIN = st.sampled_from([int, float, str, bool, int | None, list[int], Visitor, Nested, Literal["a", "b"]])


@given(takes=_PLAIN, gives=_PLAIN)
def test_no_version_breaks_its_own_callers(takes: Any, gives: Any) -> None:
    assert differences(signature(takes, gives), signature(takes, gives)) == []


# --- at a deploy

ONE = 'name = "shop"\n[services.churn]\nmodel = "service:Churn"\n'


@pytest.fixture
def plane(tmp_path: Path) -> Plane:
    return Plane(tmp_path)


def serves(plane: Plane, takes: Any) -> None:
    plane.behaviour["churn"] = Behaviour(signature=msgspec.to_builtins(signature(takes)))


def said(plane: Plane, release: Any) -> list[str]:
    with plane.bough.database.read() as tx:
        return [each.data["text"] for each in events.read(tx, subject=release.id) if each.name == "api.broken"]


def test_a_deploy_that_breaks_a_live_version_is_refused_in_production(plane: Plane) -> None:
    serves(plane, Visitor)
    first = plane.deploy(ONE)
    serves(plane, Demanding)
    second = plane.deploy(ONE, content="two")
    assert (second.state, second.failure["code"]) == ("failed", "API_BROKEN")
    assert "input language must be given now" in second.failure["message"]
    assert "/v1/churn" in second.failure["message"]
    assert plane.routes()[0].release == first.number


def test_the_same_change_beside_the_old_version_goes_live(plane: Plane) -> None:
    serves(plane, Visitor)
    plane.deploy(ONE)
    serves(plane, Demanding)
    plane.behaviour["churn-next"] = plane.behaviour["churn"]
    both = ONE + '[services.churn-next]\nmodel = "service:Churn"\napi = "v2"\nroute = "churn"\nreplicas = 2\n'
    assert plane.deploy(both).state == "live"
    assert {(route.api, route.service) for route in plane.routes()} == {("v1", "churn"), ("v2", "churn")}


def test_it_goes_live_when_its_author_says_so_and_is_said(plane: Plane) -> None:
    serves(plane, Visitor)
    plane.deploy(ONE)
    serves(plane, Demanding)
    release = plane.deploy(ONE + 'breaking = "say"\n', content="two")
    assert release.state == "live"
    assert said(plane, release) == ["callers of /v1/churn would break: input language must be given now"]
    serves(plane, Visitor)
    quiet = plane.deploy(ONE + 'breaking = "allow"\n', content="three")
    assert (quiet.state, said(plane, quiet)) == ("live", [])


def test_a_rollback_is_never_held_up(plane: Plane) -> None:
    serves(plane, Demanding)
    plane.deploy(ONE)
    serves(plane, Visitor)
    assert plane.deploy(ONE + 'breaking = "allow"\n', content="two").state == "live"
    back = plane.call("releases.rollback", project="shop")
    plane.let_pass(3)
    assert plane.release(back).state == "live"


def test_a_version_that_goes_without_notice_is_said(plane: Plane) -> None:
    other = '[services.other]\nmodel = "service:Other"\n'
    plane.deploy(ONE + other)
    release = plane.deploy(ONE)
    assert said(plane, release) == ["/v1/other is gone, and was not deprecated"]
    plane.deploy(ONE + other + "deprecated = 2026-01-01\n")
    assert said(plane, plane.deploy(ONE + "timeout_s = 9\n")) == []
