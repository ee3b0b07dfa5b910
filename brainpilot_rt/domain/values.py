"""The base of every value that crosses a boundary: frozen, closed, keyword-only pydantic."""

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """A frozen value with no unknown fields. Subclasses are plain data, without I/O."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")
