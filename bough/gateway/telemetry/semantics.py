"""Names of OpenTelemetry's semantic conventions, for spans and metrics alike."""

from __future__ import annotations

from typing import Any

from bough.gateway.models import WEB

PROVIDER = "bough"
CHAT, EMBEDDINGS = "chat", "embeddings"  # operations of generative AI, and what services say in `openai`


def gen_ai(operation: str, model: str) -> dict[str, Any]:
    """Attributes of a request to a service that speaks OpenAI's protocols."""
    return {"gen_ai.operation.name": operation, "gen_ai.provider.name": PROVIDER, "gen_ai.request.model": model}


def http_route(kind: str, api: str, service: str) -> str:
    return f"/web/{service}/" if kind == WEB else f"/{api}/{service}/predict"
