"""Routes about environments: named records of where sessions work, which is this machine.

An environment says what a client expects of the place; it starts nothing.
"""

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from brainpilot_rt.domain.errors import BadRequest, NotFound
from brainpilot_rt.domain.times import iso
from brainpilot_rt.server.bodies import parse, sent
from brainpilot_rt.server.config import ServerConfig
from brainpilot_rt.server.idempotency import json_response
from brainpilot_rt.server.ports import Backend
from brainpilot_rt.server.routes.paging import flag, page_of
from brainpilot_rt.server.wires.managed import environment_json
from brainpilot_rt.server.wires.managed_bodies import (
    EnvironmentBody,
    Json,
    environment_config,
    merged,
)

ENVIRONMENT: Final = "environment"


class EnvironmentRoutes:
    """Handlers about environments."""

    def __init__(self, backend: Backend, config: ServerConfig) -> None:
        self._backend = backend
        self._config = config

    async def create(self, request: Request) -> Response:
        """POST /v1/environments."""
        body = parse(EnvironmentBody, sent(request))
        if body.name is None:
            raise BadRequest("name is missing", code="invalid_body")
        at = iso(self._config.clock.now_ms())
        made = {
            "name": body.name,
            "description": body.description,
            "config": environment_config(body.config),
            "metadata": merged({}, body.metadata),
            "scope": body.scope,
            "created_at": at,
            "updated_at": at,
            "archived_at": None,
        }
        return await self._kept(f"env_{self._backend.new_id()}", made)

    async def index(self, request: Request) -> Response:
        """GET /v1/environments: newest first."""
        archived = flag(request, "include_archived")
        found = [
            environment_json(key, body)
            for key, body in reversed(list(self._backend.records.of(ENVIRONMENT).items()))
            if archived or body["archived_at"] is None
        ]
        return json_response((200, page_of(request, found)))

    async def show(self, request: Request) -> Response:
        """GET /v1/environments/{id}."""
        key, body = self._named(request)
        return json_response((200, environment_json(key, body)))

    async def update(self, request: Request) -> Response:
        """POST /v1/environments/{id}."""
        key, before = self._named(request)
        _not_archived(before)
        body = parse(EnvironmentBody, sent(request))
        news: Json = body.model_dump(include=body.model_fields_set & {"name", "description"})
        if body.config is not None:
            news["config"] = environment_config(body.config)
        if body.metadata is not None:
            news["metadata"] = merged(before["metadata"], body.metadata)
        if news.get("name", "") is None:
            raise BadRequest("name can not be empty", code="invalid_body")
        at = iso(self._config.clock.now_ms())
        return await self._kept(key, {**before, **news, "updated_at": at})

    async def archive(self, request: Request) -> Response:
        """POST /v1/environments/{id}/archive. Sessions in it go on; no more are made."""
        key, body = self._named(request)
        at = iso(self._config.clock.now_ms())
        return await self._kept(key, {**body, "archived_at": body["archived_at"] or at})

    async def delete(self, request: Request) -> Response:
        """DELETE /v1/environments/{id}."""
        key, _ = self._named(request)
        await self._backend.records.delete(ENVIRONMENT, key)
        return json_response((200, {"id": key, "type": "environment_deleted"}))

    def _named(self, request: Request) -> tuple[str, Mapping[str, Any]]:
        key: str = request.path_params["id"]
        return key, environment(self._backend.records.get(ENVIRONMENT, key), key)

    async def _kept(self, key: str, body: Mapping[str, Any]) -> Response:
        await self._backend.records.put(ENVIRONMENT, key, body)
        return json_response((200, environment_json(key, body)))


def environment(body: Mapping[str, Any] | None, key: str) -> Mapping[str, Any]:
    """The record of an environment; `NotFound` when there is none."""
    if body is None:
        raise NotFound(f"there is no environment {key[:80]!r}", code="environment_not_found")
    return body


def _not_archived(body: Mapping[str, Any]) -> None:
    if body["archived_at"] is not None:
        raise BadRequest("this environment is archived", code="environment_archived")
