"""Lists page by page, as the clients of managed agents turn pages.

A page's token names the item it begins after or ends before, so that a page stays the same when
something is added elsewhere.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from starlette.requests import Request

from brainpilot_rt.domain.errors import BadRequest
from brainpilot_rt.server.queries import number

_LIMIT: Final = 20
_LIMIT_MAX: Final = 100
_WHEN: Final = re.compile(r"created_at\[(gt|gte|lt|lte)\]")


def limit_of(request: Request, default: int = _LIMIT, most: int = _LIMIT_MAX) -> int:
    """How many are wanted; none at all is no page."""
    limit = number(request, "limit", default, most=most)
    if not limit:
        raise BadRequest(f"limit: from 1 to {most}")
    return limit


def flag(request: Request, name: str) -> bool:
    """Whether something is asked for."""
    return request.query_params.get(name, "").lower() in ("true", "1")


def many(request: Request, name: str) -> frozenset[str]:
    """Values of a list: `name[]=a&name[]=b`, or `name` as often."""
    query = request.query_params
    return frozenset((*query.getlist(f"{name}[]"), *query.getlist(name)))


def in_time(request: Request) -> tuple[int | None, int | None]:
    """Unix milliseconds from and to which (both included) `created_at[...]` restricts a list."""
    first: int | None = None
    last: int | None = None
    for name, text in request.query_params.items():
        if (match := _WHEN.fullmatch(name)) is None:
            continue
        at_ms = moment_ms(text)
        match match[1]:
            case "gt":
                first = at_ms + 1
            case "gte":
                first = at_ms
            case "lt":
                last = at_ms - 1
            case _:
                last = at_ms
    return first, last


def is_in(at_ms: int, between: tuple[int | None, int | None]) -> bool:
    """Whether a moment is in a range of `in_time`."""
    first, last = between
    return (first is None or at_ms >= first) and (last is None or at_ms <= last)


def page_of(
    request: Request, items: Sequence[dict[str, Any]], *, back: bool = False
) -> dict[str, Any]:
    """One page of all items; `back`: with the token of the page before it."""
    limit = limit_of(request)
    token = request.query_params.get("page", "")
    start = 0
    if token:
        way, _, named = token.partition(":")
        at = next((n for n, one in enumerate(items) if one["id"] == named), None)
        if at is None or way not in ("after", "before"):
            raise BadRequest("this is the token of no page here", code="invalid_page")
        start = at + 1 if way == "after" else max(at - limit, 0)
    shown = items[start : start + limit]
    more = start + limit < len(items)
    page: dict[str, Any] = {
        "data": shown,
        "next_page": f"after:{shown[-1]['id']}" if shown and more else None,
    }
    if back:
        page["prev_page"] = f"before:{shown[0]['id']}" if shown and start > 0 else None
    return page


def moment_ms(text: str) -> int:
    """Unix milliseconds of a moment in ISO 8601; without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadRequest(f"{text[:40]!r} is no moment in ISO 8601", code="invalid_query") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)
