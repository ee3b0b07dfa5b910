"""Whole numbers that somebody wrote into a path or a query."""

from typing import Final

from starlette.requests import Request

from brainpilot_rt.domain.errors import BadRequest

_DIGITS_MAX: Final = 9


def whole(text: str, name: str) -> int:
    """The number; `BadRequest` for anything else."""
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX):
        raise BadRequest(f"{name}: a whole number")
    return int(text)


def number(
    request: Request, name: str, default: int, *, least: int = 0, most: int = 10**_DIGITS_MAX
) -> int:
    """A number of the query, brought between bounds."""
    return min(max(whole(request.query_params.get(name, str(default)), name), least), most)
