"""The base of every value that crosses a boundary: frozen, closed, keyword-only pydantic."""

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """A frozen value with no unknown fields. Subclasses are plain data, without I/O.

    A class builds its validator when it is first used: a hundred of them at import would be a third
    of the daemon's start.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_inf_nan="strings", defer_build=True
    )
