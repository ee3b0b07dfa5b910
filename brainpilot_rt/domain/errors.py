"""Every error the daemon raises on purpose, in one tree.

    RuntimeFault
    ├── CommandRejected              the request can not be carried out as it stands   409
    │   ├── BadRequest               malformed or out of range                        400
    │   ├── NotFound                 unknown session, agent, question, file           404
    │   ├── Conflict                 contradicts the present state                    409
    │   ├── TooLarge                 over a byte, count or depth limit                413
    │   ├── BudgetExceeded           nothing may be spent on it (any more)            402
    │   ├── Forbidden                known, but not allowed                           403
    │   └── Busy                     back-pressure: try again later                   429
    ├── Unavailable                  storage in trouble or shutting down              503
    └── ProviderFault                a model provider failed
        ├── RetryableFault           worth another attempt (carries retry_after_s)
        └── FatalFault               not worth one (auth, bad request, protocol)

A remote failure is classified once, in the adapter that met it. Inside loops outcomes are values;
an exception from this tree crosses at most one boundary. The HTTP status beside a class is applied
in `server/problems.py` and nowhere else.
"""


class RuntimeFault(Exception):
    """Root of the tree. `code` is a stable snake_case word for programs."""

    code = "runtime_fault"

    def __init__(self, message: str, *, code: str | None = None, detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail or message
        """For people, where the wire prescribes the words of `message`."""
        if code is not None:
            self.code = code


class CommandRejected(RuntimeFault):
    """The authority refused a command; nothing changed."""

    code = "rejected"


class BadRequest(CommandRejected):
    """The request is malformed or a value is out of its range."""

    code = "bad_request"


class NotFound(CommandRejected):
    """What the request names does not exist."""

    code = "not_found"


class Conflict(CommandRejected):
    """The request contradicts the present state."""

    code = "conflict"


class SectionFull(Conflict):
    """A section of memory has no room, and nothing in it may be evicted."""

    code = "memory_section_full"


class TooLarge(CommandRejected):
    """Over a limit of bytes, counts or depth; the message names the limit."""

    code = "too_large"


class Forbidden(CommandRejected):
    """Known, understood, and not allowed for this caller."""

    code = "forbidden"


class BudgetExceeded(CommandRejected):
    """A budget is used up, or whoever would spend is suspended."""

    code = "budget_exhausted"


class Busy(CommandRejected):
    """Back-pressure on new work; `retry_after_s` says when to try again."""

    code = "busy"

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class MemoryFull(Busy):
    """The memory budget the user set is used up; nothing was accepted."""

    code = "memory_full"


class Unavailable(RuntimeFault):
    """Storage is in trouble or the daemon is stopping; nothing was accepted."""

    code = "unavailable"


class ProviderFault(RuntimeFault):
    """A model provider failed. `status` is its HTTP status, if there was one."""

    code = "provider_fault"

    def __init__(self, message: str, *, code: str | None = None, status: int | None = None) -> None:
        super().__init__(message, code=code)
        self.status = status


class RetryableFault(ProviderFault):
    """Worth another attempt; `retry_after_s` is the provider's own wish, if it had one."""

    code = "provider_retryable"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, code=code, status=status)
        self.retry_after_s = retry_after_s


class FatalFault(ProviderFault):
    """Another attempt would fail the same way (auth, bad request, protocol)."""

    code = "provider_fatal"


def unknown_session(session: str) -> NotFound:
    """There is no such session."""
    return NotFound(f"session {session!r} does not exist", code="unknown_session")
