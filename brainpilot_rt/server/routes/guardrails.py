"""Routes about guardrails: their rules, who is asked besides ours, and a try."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import AliasChoices, Field
from starlette.requests import Request
from starlette.responses import Response

from brainpilot_rt.domain.errors import BadRequest, NotFound
from brainpilot_rt.domain.governing import GuardStage
from brainpilot_rt.governance.guardrails.config import (
    STAGES,
    CheckConfig,
    GuardrailConfig,
    config_json,
    parse_config,
)
from brainpilot_rt.governance.guardrails.pipeline import Verdict, judge
from brainpilot_rt.governance.guardrails.providers import (
    ExternalProvider,
    describe_templates,
    provider_json,
)
from brainpilot_rt.server.bodies import Body, parse, sent
from brainpilot_rt.server.callers import refuse_agents
from brainpilot_rt.server.idempotency import json_response
from brainpilot_rt.server.ports import Backend
from brainpilot_rt.server.resources import Row
from brainpilot_rt.supervision.guard_providers import BUILT_IN

_NAMES: Final = {
    "builtin": "Planted instructions",
    "secrets": "Keys and passwords",
    "pii": "Personal data",
    "topic-restriction": "Topics nobody should mention",
}


class TryBody(Body):
    """POST /v1/guardrails/test. `direction`: a stage, `input` unless said otherwise."""

    text: Annotated[
        str, Field(max_length=200_000, validation_alias=AliasChoices("text", "content"))
    ]
    direction: GuardStage = "input"
    providers: list[str] | None = None
    """Ids of the only checks to be made."""


class GuardrailRoutes:
    """Handlers about guardrails."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._guards = backend.oversight.guards
        self._providers = backend.oversight.guard_providers

    async def config(self, _request: Request) -> Response:
        """GET /v1/guardrails/config."""
        return json_response((200, config_json(self._guards.config)))

    async def set_config(self, request: Request) -> Response:
        """PUT /v1/guardrails/config: what is not named stays as it is."""
        refuse_agents(request, self._backend.agents, "change guardrails")
        wanted = parse_config(sent(request), self._guards.config)
        known = {one.id for one in (*self._guards.config.checks, *self._providers.listed())}
        if strangers := [one.id for one in wanted.checks if one.id not in known]:
            raise BadRequest(f"there is no guardrail {strangers[0]!r}; add its provider first")
        await self._guards.set_config(wanted)
        return json_response((200, config_json(wanted)))

    async def index(self, _request: Request) -> Response:
        """GET /v1/guardrails/providers: ours, then those that were added."""
        config = self._guards.config
        ours = [
            {
                "id": one,
                "name": _NAMES[one],
                "type": "builtin",
                **_check_json(config.check(one)),
            }
            for one in BUILT_IN
        ]
        added = [self._external_json(one, config) for one in self._providers.listed()]
        return json_response((200, {"providers": [*ours, *added], "total": len(ours + added)}))

    async def add(self, request: Request) -> Response:
        """POST /v1/guardrails/providers. The key is kept apart and never shown again."""
        refuse_agents(request, self._backend.agents, "change guardrails")
        provider = await self._providers.add(sent(request))
        shown = self._external_json(provider, self._guards.config)
        return json_response((201, {"provider": shown, **shown}))

    async def remove(self, request: Request) -> Response:
        """DELETE /v1/guardrails/providers/{provider}."""
        refuse_agents(request, self._backend.agents, "change guardrails")
        provider = request.path_params["provider"]
        if provider in BUILT_IN:
            raise BadRequest(f"{provider!r} is a check of ours: set it to enabled: false instead")
        await self._providers.remove(provider)
        return json_response((200, {"id": provider, "deleted": True}))

    async def templates(self, _request: Request) -> Response:
        """GET /v1/guardrails/templates."""
        return json_response((200, {"templates": describe_templates()}))

    async def test(self, request: Request) -> Response:
        """POST /v1/guardrails/test: what would be made of a text; nothing is recorded."""
        body = parse(TryBody, sent(request))
        config = self._guards.config.model_copy(update={"enabled": True})
        if body.providers is not None:
            config = self._only(body.providers, config)
        external = await self._providers.findings(body.text, body.direction, config)
        verdict = await asyncio.to_thread(judge, body.text, body.direction, config, external)
        return json_response((200, verdict_json(verdict, body.direction)))

    def _only(self, named: Sequence[str], config: GuardrailConfig) -> GuardrailConfig:
        known = [*BUILT_IN, *(one.id for one in self._providers.listed())]
        for one in named:
            if one not in known:
                raise NotFound(f"no guardrail {one[:80]!r}; there are {', '.join(known)}")
        checks = [
            config.check(one).model_copy(update={"enabled": one in named, "stages": STAGES})
            for one in known
        ]
        return config.model_copy(update={"checks": tuple(checks)})

    def _external_json(self, one: ExternalProvider, config: GuardrailConfig) -> dict[str, Any]:
        key = {"type": "external", "has_key": self._providers.has_key(one.id)}
        return {**provider_json(one), **key, **_check_json(config.check(one.id))}


def _check_json(check: CheckConfig) -> dict[str, Any]:
    shown = check.model_dump(mode="json")
    return {name: shown[name] for name in ("enabled", "stages", "actions")}


def verdict_json(verdict: Verdict, stage: GuardStage) -> dict[str, Any]:
    """What a text came to. `safe`: nothing was found that is more than noted."""
    return {
        "safe": verdict.action in (None, "log"),
        "blocked": verdict.action == "block",
        "action": verdict.action,
        "direction": stage,
        "text": verdict.text,
        "reason": verdict.reason,
        "confidence": verdict.confidence,
        "findings": [
            {
                "provider": one.guardrail,
                "label": one.label,
                "confidence": one.confidence,
                "reason": one.reason,
                "spans": [list(span) for span in one.spans],
            }
            for one in verdict.findings
        ],
    }


def guardrail_rows(to: GuardrailRoutes) -> list[Row]:
    """The routes about guardrails."""
    here = "/v1/guardrails"
    found, owners = {200: "found"}, {403: "not with an agent's token"}
    changed = {200: "done", 400: "which value is wrong, and why", **owners}
    added = {201: "added, or changed", 400: changed[400], 409: "an id of ours", **owners}
    removed = {200: "removed", 404: "no such provider", 400: "a check of ours", **owners}
    tried = {200: "what would be made of it", 400: "malformed", 404: "no such guardrail"}
    return [
        Row("GET", f"{here}/config", to.config, "Rules of the guardrails", found),
        Row("PUT", f"{here}/config", to.set_config, "Change some", changed),
        Row("GET", f"{here}/providers", to.index, "Who checks", found),
        Row("POST", f"{here}/providers", to.add, "Ask somebody else too", added),
        Row("DELETE", f"{here}/providers/{{provider}}", to.remove, "Ask no more", removed),
        Row("POST", f"{here}/test", to.test, "Try a text", tried, body=(TryBody,)),
        Row("GET", f"{here}/templates", to.templates, "Kinds of answers", found),
    ]
