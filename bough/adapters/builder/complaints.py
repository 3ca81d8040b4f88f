"""What uv says when it fails, as errors that a person can act on; and its text without addresses and passwords."""

from __future__ import annotations

import re
from pathlib import Path

from bough.kernel.errors import Invalid, Problem, WorkloadFailed
from bough.kernel.files import disk_full, not_writable

# Hosts that everybody may know; any other address may be a company's own.
_PUBLIC = ("github.com", "docs.astral.sh", "pypi.org", "files.pythonhosted.org", "packaging.python.org")
_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+]*)://(?:[^\s/@'\"`]*@)?(?P<host>[^\s/:'\"`)]+)(?P<rest>[^\s'\"`)]*)")

# In the order in which they are looked for: a refused password also makes a package "not found". `{0}` is what the
# first group matched.
_KINDS: tuple[tuple[re.Pattern[str], str, str, str], ...] = (
    (
        re.compile(r"((?:401|403)\b.*(?:Unauthorized|Forbidden)|(?:Unauthorized|Forbidden).*\b(?:401|403)\b)"),
        "INDEX_UNAUTHORIZED", "the package index refused the credentials",
        "check the UV_… or PIP_… variables of the shell that started Bough",
    ),
    (
        re.compile(r"Because (\S+?),? was not found in the (?:package registry|provided package locations)"),
        "PACKAGE_NOT_FOUND", "there is no package {0!r}", "check the spelling of {0!r} in the requirements",
    ),
    (
        re.compile(
            r"(Request failed after|Failed to fetch|error sending request|dns error|Could not resolve host"
            r"|network was disabled|Connection refused|operation timed out|unable to access)"
        ),
        "NETWORK_UNREACHABLE", "the package index does not answer",
        "check the network, then run the same command again; what was locked and installed before works without it",
    ),
    (
        re.compile(r"Hash mismatch for `([^`]+)`"),
        "HASH_MISMATCH", "{0} is not the file that the lock names", "lock the requirements again",
    ),
    (
        re.compile(r"(No solution found|unsatisfiable)"),
        "RESOLUTION_FAILED", "no set of versions satisfies the requirements",
        "change the versions that the cause names",
    ),
    (
        re.compile(r"Distribution not found at: (\S+)"),
        "PACKAGE_NOT_FOUND", "there is no file or folder {0}",
        "check the requirements: a name with odd characters is taken for a path",
    ),
    (
        re.compile(r"(Failed to build|build backend|Build backend)"),
        "PACKAGE_BUILD_FAILED", "a package has no wheel for this machine and could not be compiled",
        "choose a version that has a wheel, or install the compiler that its log asks for",
    ),
)  # fmt: skip
_PASSWORD = re.compile(r"(/)[^\s/:@'\"`]+:[^\s/@'\"`]*@")
_PARSE = re.compile(r"([^\s:]+\.(?:txt|in|toml)):(\d+)(?::\d+)?")


def redact(text: str) -> str:
    """`text` without user names, passwords and queries in addresses, and without addresses that are not public."""
    return _PASSWORD.sub(r"\1", _URL.sub(_shown, text))


def complaint(output: str, home: Path) -> Problem:
    """The error for what uv wrote before it failed. `output` is redacted already."""
    cause = _cause(output)
    if "No space left" in output or "Disk quota exceeded" in output:
        return disk_full(f"no space left for the environment: {cause}", home, path=str(home))
    if "Read-only file system" in output or "Permission denied" in output:
        return not_writable(f"the environment cannot be written: {cause}", home, path=str(home))
    for pattern, code, what, hint in _KINDS:
        if found := pattern.search(output):
            return _failed(code, what.format(found[1]), cause, hint.format(found[1]))
    if parse := _PARSE.search(output):
        return Invalid(
            f"{parse[1]}:{parse[2]} cannot be read: {cause}", code="REQUIREMENTS_INVALID",
            hint=f"edit {parse[1]}, line {parse[2]}", file=parse[1], line=int(parse[2]),
        )  # fmt: skip
    return _failed("ENVIRONMENT_FAILED", "the environment could not be made", cause, "read the build's log")


def _failed(code: str, what: str, cause: str, hint: str) -> WorkloadFailed:
    return WorkloadFailed(f"{what}: {cause}", code=code, hint=hint, cause=cause)


def _cause(output: str) -> str:
    """The sentence that says why: the last `cause:` of uv's chain that is more than a bare system error."""
    lines = [line.strip() for line in output.splitlines()]
    causes = [line.removeprefix("cause:").strip() for line in lines if line.startswith("cause:")]
    errors = [line.removeprefix("error:").strip() for line in lines if line.startswith("error:")]
    if causes and ("No solution" in output or len(causes) == 1):
        return causes[0]
    return "; ".join((errors[-1:] or []) + causes[-1:]) or (output.strip().splitlines() or ["uv gave no reason"])[-1]


def _shown(match: re.Match[str]) -> str:
    host, rest = match["host"], match["rest"].split("?")[0].split("#")[0]
    if match["scheme"] == "file":
        return match[0]
    return f"{match['scheme']}://{host}{rest}" if host in _PUBLIC else "<package index>"
