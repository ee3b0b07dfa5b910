"""The base of every value that crosses a boundary: frozen, closed, keyword-only pydantic."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from brainpilot_rt.domain.errors import BadRequest

M = TypeVar("M", bound=BaseModel)


class Value(BaseModel):
    """A frozen value with no unknown fields. Subclasses are plain data, without I/O.

    A class builds its validator when it is first used: a hundred of them at import would be a third
    of the daemon's start.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_inf_nan="strings", defer_build=True
    )


def first_problem(wrong: ValidationError, whole: str = "body") -> str:
    """What is wrong first, and where; `whole` stands for the thing itself."""
    first = wrong.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or whole}: {first['msg']}"


def checked(model: type[M], values: Mapping[str, Any], code: str = "invalid_body") -> M:
    """Values from outside as a model; `BadRequest` says what is wrong with which field."""
    try:
        return model.model_validate(values)
    except ValidationError as wrong:
        raise BadRequest(first_problem(wrong), code=code) from None
