"""Which job of a project a command means."""

from __future__ import annotations

from bough.kernel.errors import Invalid, NotFound
from bough.kernel.project import Project


def job_meant(project: Project, job: str, command: str) -> str:
    """`job`, or without one the only one, or the only one that trains. Raises `NotFound`, and `Invalid` (JOB_UNCLEAR)
    with what to type instead of `command`."""
    jobs = project.jobs
    if job:
        if job not in jobs:
            raise NotFound(
                f"{project.name} has no job {job!r}; it has {', '.join(jobs) or 'none'}", code="JOB_NOT_FOUND",
                hint=f"add [jobs.{job}] to bough.toml",
            )  # fmt: skip
        return job
    for found in (list(jobs), [name for name, each in jobs.items() if each.kind in ("train", "finetune")]):
        if len(found) == 1:
            return found[0]
    raise Invalid(
        f"say which job is meant; there are {', '.join(jobs) or 'none'}", code="JOB_UNCLEAR",
        hint=f"{command} {next(iter(jobs), 'NAME')}" if jobs else "add [jobs.NAME] to bough.toml",
    )  # fmt: skip
