"""Request bodies: read within a limit, parsed whatever the content type, never trusted.

A body is read before its handler runs (`resources.py`); handlers ask for what was `sent`.
JSON is parsed on the loop, so what can be parsed is bounded in bytes and in values first: a string
of megabytes is cheap, a million small values are not. Depth, NaN and lone surrogates are refused by
the parser. Of repeated keys the last one counts.
"""

import asyncio
import binascii
from collections.abc import Mapping
from typing import Any, Final, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json
from starlette.requests import Request

from brainpilot_rt.domain.errors import BadRequest, TooLarge
from brainpilot_rt.domain.values import first_problem

M = TypeVar("M", bound=BaseModel)

_VALUES_MAX: Final = 250_000
_BASE64_STEP: Final = 1 << 20
_BODY: Final = "brainpilot_rt.body"


class Body(BaseModel):
    """Base of the bodies: unknown keys are ignored, as BrainPilot ignores them."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


async def read_body(request: Request, bytes_max: int) -> bytes:
    """The whole body, kept for `body_of`; TooLarge as soon as it is over the limit."""
    if _BODY not in request.scope:
        parts = bytearray()
        async for part in request.stream():
            parts += part
            if len(parts) > bytes_max:
                raise TooLarge(f"the body is larger than {bytes_max:,} bytes")
        request.scope[_BODY] = bytes(parts)
    return body_of(request)


def body_of(request: Request) -> bytes:
    """The body that was read."""
    return cast("bytes", request.scope[_BODY])


def sent(request: Request) -> dict[str, Any]:
    """The JSON object of the body; nothing at all is an empty one."""
    return parse_object(body_of(request))


def parse_object(raw: bytes) -> dict[str, Any]:
    """A JSON object; nothing at all is an empty one."""
    if not raw.strip():
        return {}
    if raw.count(b",") > _VALUES_MAX:
        raise TooLarge(f"the body has more than {_VALUES_MAX:,} values")
    try:
        parsed: object = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {error}", code="bad_json") from None
    if not isinstance(parsed, dict):
        raise BadRequest("the body is not a JSON object", code="bad_json")
    return cast("dict[str, Any]", parsed)


def parse(model: type[M], values: Mapping[str, Any], message: str = "") -> M:
    """Values as a body; else BadRequest saying what is wrong with which field.

    `message` stands for it where the wire prescribes the words; then it is the `detail`.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        wrong = first_problem(error)
        raise BadRequest(message or wrong, code="invalid_body", detail=wrong) from None


async def decode_base64(text: str) -> bytes:
    """Decode base64 piece by piece, letting the loop run in between."""
    decoded = bytearray()
    try:
        for start in range(0, len(text), _BASE64_STEP):
            piece = text[start : start + _BASE64_STEP]
            decoded += binascii.a2b_base64(piece, strict_mode=True)
            await asyncio.sleep(0)
    except ValueError:
        raise BadRequest("contentBase64 is not base64", code="invalid_body") from None
    return bytes(decoded)
