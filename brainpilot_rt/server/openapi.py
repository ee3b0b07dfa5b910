"""The OpenAPI 3.1 document, made from the table of routes: a route that is served is listed."""

import re
from collections.abc import Iterable
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from brainpilot_rt.domain.ids import NAME, UUID
from brainpilot_rt.server.resources import Row

_PARAMETER: Final = re.compile(r"{(\w+)}")
_WORD: Final = re.compile(r"\w+")
_REF: Final = "#/components/schemas/{model}"
_SESSION: Final = {"type": "string", "pattern": f"^({NAME.pattern}|{UUID.pattern})$"}
_KEY: Final = {"type": "string", "pattern": "^[!-~]{1,255}$"}
_OF_ANY: Final = {
    400: "malformed",
    414: "the target is too long",
    421: "this host is not served here",
    431: "the headers are too large",
}
_OF_OWNED: Final = {401: "no token", 429: "too many attempts, or too busy"}
_OF_CHANGE: Final = {413: "too large", 503: "not possible now; the log may be read-only"}
_PROBLEM: Final = {
    "type": "object",
    "required": ["error", "detail", "code"],
    "properties": {name: {"type": "string"} for name in ("error", "detail", "code")},
}
_API_PROBLEM: Final = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type"],
            "properties": {name: {"type": "string"} for name in ("message", "type")},
        }
    },
}
"""Of `/v1`; what is said before any route is a `Problem` there too."""
_RPC_PROBLEM: Final = {
    "type": "object",
    "required": ["jsonrpc", "error"],
    "properties": {
        "jsonrpc": {"const": "2.0"},
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {"code": {"type": "integer"}, "message": {"type": "string"}},
        },
    },
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
            "schemas": definitions.get("$defs", {})
            | {"Problem": _PROBLEM, "ApiProblem": _API_PROBLEM, "RpcProblem": _RPC_PROBLEM},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _operation(row: Row) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": _SESSION if name == "id" else {"type": "string"},
        }
        for name in _PARAMETER.findall(row.path)
    ]
    parameters += [
        {"name": name, "in": "query", "description": meaning, "schema": {"type": "string"}}
        for name, meaning in row.query.items()
    ]
    if row.method == "POST":
        key = {"name": "Idempotency-Key", "in": "header", "schema": _KEY}
        parameters.append(key)
    operation: dict[str, Any] = {
        "operationId": "_".join([row.method.lower(), *_WORD.findall(row.path)]),
        "summary": row.summary,
        "responses": {
            str(status): _response(row, status, meaning)
            for status, meaning in sorted(_answers(row).items())
        },
    }
    if parameters:
        operation["parameters"] = parameters
    if row.body:
        references = [{"$ref": _REF.format(model=body.__name__)} for body in row.body]
        schema = references[0] if len(references) == 1 else {"anyOf": references}
        content: dict[str, Any] = {"application/json": {"schema": schema}}
        if row.upload:
            content["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
        required = any(field.is_required() for one in row.body for field in _fields(one))
        operation["requestBody"] = {"content": content, "required": required}
    if row.open:
        operation["security"] = []
    return operation


def _fields(model: type[BaseModel]) -> Iterable[FieldInfo]:
    return model.model_fields.values()


def _answers(row: Row) -> dict[int, str]:
    """What the route says, and what is said before any route."""
    refused = {403: "from a foreign page" if row.open else f"needs a token that may {row.needs}"}
    common = _OF_ANY | refused | ({} if row.open else _OF_OWNED)
    if row.method != "GET":
        common |= _OF_CHANGE
    if row.method == "POST":
        common |= {409: "the key was used for another request"}
    return common | row.answers


def _response(row: Row, status: int, meaning: str) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": meaning}
    if status >= 400:  # noqa: PLR2004 - errors have one form
        forms = ("ApiProblem", "Problem") if row.path.startswith("/v1/") else ("Problem",)
        forms += ("RpcProblem",) if row.rpc else ()
        schema = {"anyOf": [{"$ref": _REF.format(model=form)} for form in forms]}
        kinds = ("application/json", "application/problem+json")
        answer["content"] = {kind: {"schema": schema} for kind in kinds}
    elif row.stream:
        answer["content"] = {"text/event-stream": {}}
    return answer
