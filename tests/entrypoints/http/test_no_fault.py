"""No input makes the API fail: schemathesis makes requests from the OpenAPI document, valid ones and others."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from bough.access import operations as access
from bough.adapters.engine.fake import FakeEngine
from bough.app import OPERATION_MODULES, Bough
from bough.entrypoints.http.app import build
from bough.kernel.clock import VirtualClock
from bough.kernel.context import Principal, Role
from bough.kernel.operations import collect
from bough.kernel.platform import Platform

with warnings.catch_warnings():  # of schemathesis' own dependencies
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis import GenerationMode
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

pytestmark = pytest.mark.filterwarnings("ignore")

CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]
EXAMPLES = int(os.environ.get("API_EXAMPLES", "10"))  # of each operation and mode; raise it for a longer search


class Plane:
    """A whole control plane, whose caller is always an admin."""

    def __init__(self, folder: Path) -> None:
        clock = VirtualClock()
        self._bough = Bough(folder / "home", Platform(), engine=FakeEngine(clock), clock=clock)
        self.operations, self.blobs = self._bough.operations, self._bough.blobs
        with self._bough.database.write() as tx:
            access.bootstrap(tx, self._bough.home.token, clock.now())

    def authenticate(self, token: str) -> Principal:
        return Principal(id="pri_x", name="admin", role=Role.ADMIN)


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_asgi("/api/v1/openapi.json", build(Plane(tmp_path_factory.mktemp("plane"))))


def names() -> list[str]:
    """Streams too: nothing that is made up exists, so none of them has anything to wait for."""
    return [*collect(OPERATION_MODULES), "blobs.put"]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "wrong"])
@pytest.mark.parametrize("name", names())
def test_no_request_makes_the_server_fail(schema: schemathesis.BaseSchema, name: str, mode: GenerationMode) -> None:
    operation = schema.find_operation_by_id(name)
    if mode is GenerationMode.NEGATIVE and not (operation.query or operation.body):
        pytest.skip("there is nothing to get wrong")

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    def check(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=CHECKS, headers={"Authorization": "Bearer x"})

    check()
