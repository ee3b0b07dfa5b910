"""The OpenAPI 3.1 document, made from the table of routes: a route that is served is listed."""

import re
from collections.abc import Iterable
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from brainpilot_rt.server.resources import Row

_PARAMETER: Final = re.compile(r"{(\w+)}")
_WORD: Final = re.compile(r"\w+")
_REF: Final = "#/components/schemas/{model}"
_PROBLEM: Final = {
    "type": "object",
    "required": ["error", "detail", "code"],
    "properties": {name: {"type": "string"} for name in ("error", "detail", "code")},
}


def document(rows: Iterable[Row], version: str) -> dict[str, Any]:
    """The whole document."""
    rows = list(rows)
    bodies: list[tuple[type[BaseModel], JsonSchemaMode]]
    bodies = [(body, "validation") for row in rows for body in row.body]
    _, definitions = models_json_schema(bodies, ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "brainpilot-rt",
            "version": version,
            "description": "Every route is also served under /c/<token>/ for clients whose proxy "
            "drops headers.",
        },
        "paths": paths,
        "components": {
            "schemas": definitions.get("$defs", {}) | {"Problem": _PROBLEM},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _operation(row: Row) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(row.path)
    ]
    parameters += [
        {"name": name, "in": "query", "description": meaning, "schema": {"type": "string"}}
        for name, meaning in row.query.items()
    ]
    if row.method == "POST":
        key = {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string"}}
        parameters.append(key)
    operation: dict[str, Any] = {
        "operationId": "_".join([row.method.lower(), *_WORD.findall(row.path)]),
        "summary": row.summary,
        "responses": {str(status): _response(row, status) for status in row.answers},
    }
    if parameters:
        operation["parameters"] = parameters
    if row.body:
        references = [{"$ref": _REF.format(model=body.__name__)} for body in row.body]
        schema = references[0] if len(references) == 1 else {"anyOf": references}
        operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    if row.open:
        operation["security"] = []
    return operation


def _response(row: Row, status: int) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": row.answers[status]}
    if status >= 400:  # noqa: PLR2004 - errors have one form
        schema = {"$ref": _REF.format(model="Problem")}
        answer["content"] = {"application/json": {"schema": schema}}
    elif row.stream:
        answer["content"] = {"text/event-stream": {}}
    return answer
