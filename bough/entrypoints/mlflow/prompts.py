"""Prompts of MLflow: registered models whose versions are a text. Clients send and read it as a tag; it is a version's
only file as well, so that a signature covers it and it stays what it was when the tag is changed."""

from __future__ import annotations

from collections.abc import Mapping

IS_PROMPT = "mlflow.prompt.is_prompt"  # a tag that prompts have and models lack: absent is as good as false
EXPERIMENTS = "_mlflow_experiment_ids"  # a tag of a prompt: `,1,2,`
_TEXT, _TYPE = "mlflow.prompt.text", "_mlflow_prompt_type"


def is_prompt(tags: Mapping[str, str]) -> bool:
    return tags.get(IS_PROMPT) == "true"


def file_of(tags: Mapping[str, str]) -> tuple[str, bytes]:
    """Name and content of a version's file; messages of a chat are JSON."""
    name = "prompt.json" if tags.get(_TYPE) == "chat" else "prompt.txt"
    return name, tags.get(_TEXT, "").encode("utf-8", "replace")
