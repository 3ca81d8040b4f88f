"""Every error that Bough reports to a person or a program.

One tree. An error carries a stable `code` (documented, never reused), a sentence that says what happened and why,
the command or edit that helps (`hint`), and the offending fields. Capabilities raise these and know nothing of HTTP
or exit codes; each way in maps the *class* once (`http_status`, `exit_code` are data here so that the mapping cannot
differ between server, client and command line).

    Problem                     500  exit 1   something in Bough itself failed
    ├── Invalid                 422  exit 2   the input is wrong; nothing was changed
    │   └── ProjectFileInvalid  422  exit 2   bough.toml is wrong: names file, line and key
    ├── Unauthenticated         401  exit 3   no token, or one that is not known
    ├── Forbidden               403  exit 3   the principal's role does not reach
    ├── NotFound                404  exit 4
    ├── Conflict                409  exit 5   exists already, moved meanwhile, or ambiguous
    ├── TooLarge                413  exit 2
    ├── Busy                    429  exit 6   full for now; `retry_after_s` says when to come back
    ├── Unavailable             503  exit 6   a part of the platform does not answer
    ├── Exhausted               507  exit 7   disk full, directory read-only: nothing was lost, nothing was changed
    └── WorkloadFailed          424  exit 8   the user's own code or environment failed (build, load, crash)
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec


class Detail(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error as data: what travels over HTTP and what `--json` prints."""

    code: str
    message: str
    hint: str = ""
    fields: dict[str, Any] = {}


class Problem(Exception):
    code: ClassVar[str] = "INTERNAL"
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, code: str | None = None, hint: str = "", **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.fields = fields
        self.own_code = code or type(self).code

    def detail(self) -> Detail:
        return Detail(code=self.own_code, message=self.message, hint=self.hint, fields=self.fields)


class Invalid(Problem):
    code, http_status, exit_code = "INVALID", 422, 2


class ProjectFileInvalid(Invalid):
    code = "PROJECT_FILE_INVALID"


class Unauthenticated(Problem):
    code, http_status, exit_code = "UNAUTHENTICATED", 401, 3


class Forbidden(Problem):
    code, http_status, exit_code = "FORBIDDEN", 403, 3


class NotFound(Problem):
    code, http_status, exit_code = "NOT_FOUND", 404, 4


class Conflict(Problem):
    code, http_status, exit_code = "CONFLICT", 409, 5


class TooLarge(Problem):
    code, http_status, exit_code = "TOO_LARGE", 413, 2


class Busy(Problem):
    code, http_status, exit_code = "BUSY", 429, 6

    def __init__(self, message: str, *, retry_after_s: float = 1.0, **rest: Any) -> None:
        super().__init__(message, retry_after_s=retry_after_s, **rest)
        self.retry_after_s = retry_after_s


class Unavailable(Problem):
    code, http_status, exit_code = "UNAVAILABLE", 503, 6


class Exhausted(Problem):
    code, http_status, exit_code = "EXHAUSTED", 507, 7


class WorkloadFailed(Problem):
    code, http_status, exit_code = "WORKLOAD_FAILED", 424, 8


_BY_STATUS: dict[int, type[Problem]] = {
    kind.http_status: kind
    for kind in (
        Problem,
        Invalid,
        Unauthenticated,
        Forbidden,
        NotFound,
        Conflict,
        TooLarge,
        Busy,
        Unavailable,
        Exhausted,
        WorkloadFailed,
    )
}


def from_detail(status: int, detail: Detail) -> Problem:
    """The error that a server reported, as the exception that it raised there."""
    kind = _BY_STATUS.get(status, Problem)
    fields = dict(detail.fields)
    if kind is Busy:
        return Busy(detail.message, code=detail.code, hint=detail.hint, **fields)
    return kind(detail.message, code=detail.code, hint=detail.hint, **fields)
