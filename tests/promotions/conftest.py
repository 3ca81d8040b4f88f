"""A plane with a model in production, and people with roles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bough.gateway.models import ShareState
from bough.gateway.telemetry.metrics import LATENCY_S
from bough.kernel.context import Principal, Role
from tests.plane import ADMIN, Plane

ANN = Principal(id="pri_ann", name="ann", role=Role.DEVELOPER)
BOB = Principal(id="pri_bob", name="bob", role=Role.APPROVER)
EVE = Principal(id="pri_eve", name="eve", role=Role.APPROVER)
SERVICE = '[services.churn]\nmodel = "service:Churn"\nmodels = { weights = "models:/churn@champion" }\n'
STEPS = "steps = [5, 25, 100]\nwatch_s = 10\nmin_requests = 10\n"


class Shop:
    """Deploys, registers, promotes."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane

    def register(self, content: str, *, by: Principal = ANN, **facts: Any) -> Any:
        blob = self.plane.bough.blobs.put(content.encode())
        files = [{"path": "weights.txt", "digest": blob, "size": len(content.encode())}]
        aliases = ["candidate"]
        return self.plane.call(
            "models.register", by=by, project="shop", name="churn", files=files, aliases=aliases, facts=facts
        )

    def deploy(self, policy: str = "", *, service: str = SERVICE, content: str = "one") -> Any:
        return self.plane.deploy(f'name = "shop"\n{service}{policy}', content=content)

    def first(self, policy: str = "", *, service: str = SERVICE) -> Any:
        """Version 1 is the champion and serves."""
        made = self.register("one", metrics={"auc": 0.9}, inputs=[{"kind": "table", "name": "orders", "version": "#1"}])
        self.plane.call("models.alias", project="shop", name="churn", alias="champion", version=made.number)
        live = self.deploy(policy, service=service)
        assert live.state == "live", live
        return live

    def promote(self, model: str = "churn@candidate", *, by: Principal = ANN, **fields: Any) -> Any:
        return self.plane.call("promotions.start", by=by, project="shop", model=model, **fields)

    def show(self, promotion: Any) -> Any:
        return self.plane.call("promotions.show", id=promotion.id).promotion

    def champion(self) -> int:
        found: dict[str, int] = self.plane.call("models.show", project="shop", name="churn").aliases
        return found.get("champion", 0)

    def live(self) -> Any:
        release = next(each for each in self.plane.call("releases.list", project="shop") if each.state == "live")
        return self.plane.call("releases.show", project="shop", number=release.number)

    def pinned(self) -> int:
        version: int = self.live().manifest.services["churn"].models["weights"].version
        return version

    def route(self) -> Any:
        (found,) = self.plane.routes()
        return found

    def answered(self, deployment: str, requests: int, *, errors: int = 0, seconds: float = 0.001) -> None:
        """From now on the gateway says that this deployment has answered so many more."""
        before = next((each for each in self.plane.shares if each.deployment == deployment), None)
        buckets = list(before.buckets) if before else [0] * (len(LATENCY_S) + 1)
        buckets[next(at for at, bound in enumerate(LATENCY_S) if seconds <= bound)] += requests
        now = ShareState(
            deployment=deployment, requests=requests + (before.requests if before else 0),
            errors=errors + (before.errors if before else 0), seconds=0.0, buckets=buckets,
        )  # fmt: skip
        self.plane.shares = [each for each in self.plane.shares if each.deployment != deployment] + [now]

    def ledger(self, action: str = "promotion.*") -> list[Any]:
        """Oldest first."""
        found: list[Any] = self.plane.call("audit.ledger", project="shop", action=action, limit=1000)
        return found[::-1]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    plane = Plane(tmp_path)
    plane.lanes = []
    return Shop(plane)


__all__ = ["ADMIN", "ANN", "BOB", "EVE", "STEPS", "Shop"]
