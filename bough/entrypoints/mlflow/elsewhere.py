"""What MLflow's clients may ask for and Bough does not have: said in a sentence, with what there is instead.

The code is the one of a server that is older than the client (ENDPOINT_NOT_FOUND): clients then do without where they
can.
"""

from __future__ import annotations

from bough.kernel.errors import NotFound

# The beginning of paths, longest first where one begins with another: what is there, and what to do.
_THINGS = (
    ("/mlflow/gateway/", "gateway of MLflow", "its own serves models and language models: bough deploy"),
    ("/mlflow/workspaces", "workspaces", "a project is one: MLFLOW_TRACKING_URI=URL/mlflow/PROJECT"),
    ("/mlflow/issues", "issues of traces", "assess the trace: mlflow.log_feedback"),
    ("/mlflow/label-schemas", "label schemas", "assess the trace: mlflow.log_feedback"),
    ("/mlflow/review-queues", "review queues", "assess the trace: mlflow.log_feedback"),
    ("/mlflow/datasets", "evaluation datasets", "keep the rows in a table: bough tables create"),
    ("/mlflow/scorers", "scorers", "declare a gate in bough.toml: [models.NAME.gates]"),
    ("/mlflow/prompt-optimization", "optimization of prompts", "register a better version: mlflow.genai"),
    ("/mlflow/webhooks", "webhooks of MLflow", "events go to OpenLineage receivers, and bough audit follows them"),
    ("/mlflow/traces/calculate-filter-correlation", "correlations of traces", "search both filters and compare"),
    ("/mlflow/traces/metrics", "metrics over traces", "search traces, and count them"),
    ("/mlflow/unified-traces", "search over traces and tables", "POST /api/3.0/mlflow/traces/search"),
    ("/mlflow/get-online-trace-details", "traces in tables", "GET /api/3.0/mlflow/traces/get"),
    ("/mlflow/artifacts/presigned-", "signed URLs of artifacts", "artifacts go through this server"),
    ("/mlflow-artifacts/presigned/", "signed URLs of artifacts", "artifacts go through this server"),
    ("/mlflow-artifacts/mpu/", "uploads in parts", "an artifact goes in one piece, however large"),
)  # fmt: skip


def refused(method: str, path: str) -> NotFound:
    """`path`: below /api/VERSION."""
    for start, what, instead in _THINGS:
        if path.startswith(start):
            return NotFound(f"Bough has no {what}", code="ENDPOINT_NOT_FOUND", hint=instead)
    return NotFound(f"there is no {method} {path[:300]} here", code="ENDPOINT_NOT_FOUND")
