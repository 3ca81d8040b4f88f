"""Operations: every public verb, written once.

An operation is a function `(context, request) -> response` with a frozen request, a role and a docstring, registered
under a name such as `releases.list`. The HTTP route, the SDK method, the command, its help and the OpenAPI document
are derived from that declaration; the role check, the transaction, idempotency, the audit row and the timing happen in
`Operations.call` and nowhere else.

    GET  /api/v1/<noun>/<verb>?field=…     operations that only read and whose request is scalars
    POST /api/v1/<noun>/<verb>  {json}     all others
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import inspect
import os
import threading
import time
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from types import ModuleType
from typing import Any, Generic, Protocol, TypeVar

import msgspec
import sqlalchemy as sa

from bough.kernel.clock import Clock
from bough.kernel.context import Context, Parts, Principal, Role, WouldWait
from bough.kernel.errors import Conflict, Exhausted, Forbidden, Invalid, NotFound, Problem
from bough.kernel.events import Events
from bough.kernel.names import new_id
from bough.kernel.tables import audit, idempotency

Request = TypeVar("Request", bound=msgspec.Struct)
Response = TypeVar("Response")
Commit = Callable[[Context], Response]
"""What a slow operation that writes returns: the short part, run in the transaction. Raises `Moved` when what it was
prepared for is no longer so."""

ATTEMPTS = 6  # of a slow operation whose ground moves meanwhile: more would only make a crowd wait longer


class Operation(Generic[Request, Response]):
    def __init__(
        self,
        function: Callable[[Context, Request], Response],
        name: str,
        role: Role,
        *,
        writes: bool,
        command: str,
        secret: bool,
        private: bool = False,
        slow: bool = False,
        telemetry: bool = False,
        quick: bool = False,
    ) -> None:
        hints = typing.get_type_hints(function)
        self.function, self.name, self.role, self.writes = function, name, role, writes
        self.secret, self.private, self.slow, self.telemetry = secret, private, slow, telemetry
        self.quick = quick
        self.command = command or name.replace(".", " ")
        self.request: type[Request] = hints[list(inspect.signature(function).parameters)[1]]
        self.response: Any = typing.get_args(hints["return"])[-1] if slow and writes else hints["return"]
        self.help = inspect.getdoc(function) or ""
        self.streams = inspect.isgeneratorfunction(function)

    @cached_property
    def fields(self) -> dict[str, Any]:
        """The request's fields and their types: worked out once, for every call asks."""
        return {field.encode_name: field.type for field in msgspec.structs.fields(self.request)}

    @cached_property
    def method(self) -> str:
        return "GET" if all(map(_is_scalar, self.fields.values())) and not self.writes else "POST"

    @property
    def path(self) -> str:
        return "/api/v1/" + self.name.replace(".", "/")


class Nothing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The request of an operation that needs none."""


def operation(
    name: str,
    *,
    role: Role,
    writes: bool = False,
    command: str = "",
    secret: bool = False,
    private: bool = False,
    slow: bool = False,
    telemetry: bool = False,
    quick: bool = False,
) -> Callable[[Callable[[Context, Request], Response]], Operation[Request, Response]]:
    """Declares a verb. `writes` opens a write transaction, audits the call and makes it a POST; a function that yields
    is a stream: it gets no open transaction and uses `context.read()` itself. `command` names the command when it is
    not the operation's own name ("releases list"). `secret`: the response holds one and is kept nowhere, so a repeated
    key is answered with a conflict. `private`: the request holds one, so no digest of it is kept from which a short
    value could be found by trying. `slow`: it works without a transaction, reading with `context.read()`; if it writes
    it returns a `Commit`, which gets the transaction, and both run again when that raises `Moved`. `telemetry`: it
    works on the store of what programs report, where writes come by the thousand: without an audit row or a remembered
    answer for each, so it must be harmless when it comes twice, and what it says may be lost in a power cut. `quick`:
    it is `telemetry` and writes a few rows by their keys, so a short request is answered without a change of threads
    where it need not wait."""

    def declare(function: Callable[[Context, Request], Response]) -> Operation[Request, Response]:
        return Operation(
            *(function, name, role), writes=writes, command=command, secret=secret, private=private, slow=slow,
            telemetry=telemetry, quick=quick,
        )  # fmt: skip

    return declare


class Moved(Conflict):
    """What a slow operation was prepared for has changed meanwhile: it is prepared again, ATTEMPTS times at most."""

    code = "MOVED"


class Store(Protocol):
    def write(self) -> AbstractContextManager[sa.Connection]: ...

    def write_at_once(self) -> AbstractContextManager[sa.Connection]: ...

    def read(self) -> AbstractContextManager[sa.Connection]: ...


class Operations:
    """All operations of one running Bough. `private_digest` is keyed: what it gives tells nothing of the request to
    whoever has only the database. Without one, its key lives as long as this process."""

    def __init__(
        self,
        modules: Sequence[ModuleType],
        store: Store,
        events: Events,
        clock: Clock,
        parts: Parts,
        private_digest: Callable[[bytes], str] | None = None,
        telemetry: Store | None = None,
    ) -> None:
        self._telemetry = telemetry or store
        self._store, self._events, self._clock, self._parts = store, events, clock, parts
        passing = os.urandom(32)
        self._private = private_digest or (lambda content: hmac.digest(passing, content, "sha256").hex())
        self.all = collect(modules)

    def call(
        self, name: str, request: Any, principal: Principal, *, key: str = "", closed: threading.Event | None = None,
        waits: bool = True,
    ) -> Any:  # fmt: skip
        """Runs one operation. `request` is the operation's struct or plain data; `key` makes a write happen once: the
        same key and request get the first answer again, another request is refused (code KEY_REUSED). Setting `closed`
        ends a stream that waits for something new (`StreamClosed`). A write that may not wait, neither for another
        nor for a disk, raises `WouldWait` before it begins where it would have to."""
        found = self.all.get(name)
        if found is None:
            raise NotFound(f"there is no operation {name!r}", code="OPERATION_NOT_FOUND", hint="bough --help")
        began = time.perf_counter()
        request = _typed(found, request)
        if not found.writes or found.telemetry:
            self._check_allowed(found, principal, request)
            if found.writes:
                with self._telemetry.write() if waits else self._telemetry.write_at_once() as tx:
                    return found.function(self._context(found, principal, tx), request)
            if found.streams:
                return self._stream(found, request, principal, closed)
            if found.slow:
                return found.function(self._context(found, principal, None), request)
            with self._store_of(found).read() as tx:
                return found.function(self._context(found, principal, tx), request)
        if not waits:
            raise WouldWait
        digest = self._digest(found, request, principal, key)
        try:
            self._check_allowed(found, principal, request)
            for attempt in range(1, ATTEMPTS + 1):
                commit = self._prepare(found, request, principal, key, digest)
                try:
                    with self._store.write() as tx:
                        if key and (again := self._remembered(tx, found, principal, key, digest)):
                            return again[0]
                        response = commit(self._context(found, principal, tx))
                        if key:
                            self._remember(tx, found, principal, key, digest, response)
                        self._audit(tx, found, principal, request, digest, "ok", began)
                    return response
                except Moved:
                    if attempt == ATTEMPTS:
                        raise
        except Exception as error:
            outcome = error.own_code if isinstance(error, Problem) else Problem.code
            # The refusal is part of the record, though its effects were rolled back. On a disk that is full there is no
            # record, and what was wrong must be said all the same.
            with contextlib.suppress(Exhausted), self._store.write() as tx:
                self._audit(tx, found, principal, request, digest, outcome, began)
            raise

    def _digest(self, found: Operation[Any, Any], request: Any, who: Principal, key: str) -> str:
        """Of a private request only with a key, and bound to that: equal requests must not show as equal either."""
        if not found.private:
            return hashlib.sha256(msgspec.json.encode(request)).hexdigest()
        return self._private(b"\0".join((who.id.encode(), key.encode(), msgspec.json.encode(request)))) if key else ""

    def _prepare(
        self, found: Operation[Any, Any], request: Any, principal: Principal, key: str, digest: str
    ) -> Callable[[Context], Any]:
        """What runs in the transaction: the function itself, or what a slow one has made ready."""
        if not found.slow:
            return lambda context: found.function(context, request)
        if key:
            with self._store.read() as tx:
                if again := self._remembered(tx, found, principal, key, digest):
                    return lambda context: again[0]
        made: Callable[[Context], Any] = found.function(self._context(found, principal, None), request)
        return made

    def _context(
        self,
        found: Operation[Any, Any],
        principal: Principal,
        tx: sa.Connection | None,
        closed: threading.Event | None = None,
    ) -> Context:
        return Context(principal, tx, self._clock, self._events, self._parts, self._store_of(found), closed)

    def _store_of(self, found: Operation[Any, Any]) -> Store:
        return self._telemetry if found.telemetry else self._store

    def _stream(
        self, found: Operation[Any, Any], request: Any, principal: Principal, closed: threading.Event | None
    ) -> Iterator[Any]:
        return iter(found.function(self._context(found, principal, None, closed), request))

    def _check_allowed(self, found: Operation[Any, Any], principal: Principal, request: Any) -> None:
        if principal.role < found.role:
            raise Forbidden(
                f"{found.name} needs the role {found.role.name.lower()}, and {principal.name}"
                f" is a {principal.role.name.lower()}",
                code="ROLE_MISSING",
                hint=f"ask an admin: bough principals set-role {principal.name} {found.role.name.lower()}",
            )
        if principal.scope is not None and not principal.scope.allows(found.name, request):
            raise out_of_scope(found.name)

    def _remembered(
        self, tx: sa.Connection, found: Operation[Any, Any], who: Principal, key: str, digest: str
    ) -> tuple[Any] | None:
        """The first answer, in a tuple because an answer may be None."""
        row = tx.execute(
            idempotency.select().where(idempotency.c.principal == who.id, idempotency.c.key == key)
        ).first()
        if row is None:
            return None
        if (row.operation, row.request_digest) != (found.name, digest):
            raise Conflict(
                f"idempotency key {key!r} was used for another request", code="KEY_REUSED", hint="use a new key"
            )
        if found.secret:
            raise Conflict("done already; its answer held a secret, which is shown once", code="SECRET_SHOWN")
        return (msgspec.json.decode(row.response, type=found.response),)

    def _remember(
        self, tx: sa.Connection, found: Operation[Any, Any], who: Principal, key: str, digest: str, response: Any
    ) -> None:
        row = {
            "principal": who.id,
            "key": key,
            "operation": found.name,
            "request_digest": digest,
            "response": b"" if found.secret else msgspec.json.encode(response),
            "at": self._clock.now(),
        }
        tx.execute(idempotency.insert(), row)

    def _audit(
        self,
        tx: sa.Connection,
        found: Operation[Any, Any],
        who: Principal,
        request: Any,
        digest: str,
        outcome: str,
        began: float,
    ) -> None:
        subject = "/".join(
            str(value) for field in ("project", "environment", "name", "id") if (value := getattr(request, field, ""))
        )
        row = {
            "at": self._clock.now(),
            "principal": who.name,
            "operation": found.name,
            "subject": subject,
            "outcome": outcome,
            "milliseconds": round((time.perf_counter() - began) * 1000, 2),
            "request_digest": "" if found.private else digest,
        }
        tx.execute(audit.insert(), row)


def out_of_scope(what: str) -> Forbidden:
    """The token was made for less than its owner may do."""
    return Forbidden(
        f"this token does not reach {what}; it was made for one job run and reports for that alone",
        code="TOKEN_SCOPE", hint="use a token of your own: bough tokens create",
    )  # fmt: skip


def collect(modules: Sequence[ModuleType]) -> dict[str, Operation[Any, Any]]:
    """Every operation declared in `modules`, by name; two of one name are a mistake."""
    found: dict[str, Operation[Any, Any]] = {}
    for each in (value for module in modules for value in vars(module).values() if isinstance(value, Operation)):
        if found.setdefault(each.name, each) is not each:
            raise ValueError(f"two operations are called {each.name}")
    return dict(sorted(found.items()))


def fresh_key() -> str:
    """An idempotency key for a caller that has none."""
    return new_id("key")


def _is_scalar(kind: Any) -> bool:
    return kind in (str, int, float, bool) or (
        typing.get_origin(kind) is typing.Annotated and _is_scalar(kind.__origin__)
    )


def _typed(found: Operation[Any, Any], request: Any) -> Any:
    if isinstance(request, found.request):
        return request
    try:
        return msgspec.convert(request, found.request, strict=False)
    except msgspec.ValidationError as error:
        raise Invalid(f"{found.name}: {error}", code="REQUEST_INVALID", hint=f"bough {found.command} --help") from error
