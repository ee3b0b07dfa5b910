"""Routes about memory: what a session remembers, by section and by words; add, change, forget."""

from collections.abc import Iterable
from typing import Annotated, Any, Final

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from brainpilot_rt.context.memory import Memory
from brainpilot_rt.domain.errors import BadRequest
from brainpilot_rt.domain.ids import USER, AgentName, parse_agent_name
from brainpilot_rt.domain.memory import (
    POLICIES,
    Block,
    Draft,
    MemoryItem,
    SectionName,
    section_of,
)
from brainpilot_rt.server.bodies import Body, parse, sent
from brainpilot_rt.server.idempotency import Answer, json_response, receipt_of
from brainpilot_rt.server.ports import Backend
from brainpilot_rt.server.queries import number
from brainpilot_rt.server.routes.sessions import session_of

ITEMS_SHOWN: Final = 100
ITEMS_MAX: Final = 5_000
FOUND_SHOWN: Final = 10
FOUND_MAX: Final = 100
_Tags = Annotated[tuple[Annotated[str, Field(max_length=100)], ...], Field(max_length=20)]


class RememberBody(Body):
    """POST /sessions/{id}/memory. `agent`: whose it is, in a section that each agent has."""

    section: str
    content: str
    pinned: bool = False
    block: Block | None = None
    tags: _Tags = ()
    agent: str | None = None


class EditBody(Body):
    """PUT /sessions/{id}/memory/items/{item}. What is not given stays as it is."""

    content: str | None = None
    pinned: bool | None = None
    block: Block | None = None
    tags: _Tags | None = None


class MemoryRoutes:
    """Handlers about memory."""

    def __init__(self, backend: Backend) -> None:
        self._memory = backend.memory

    async def index(self, request: Request) -> Response:
        """GET /sessions/{id}/memory: every section, with what is in it and what may be."""
        memory = await self._memory.of(session_of(request))
        sections = [_section_json(memory, section) for section in POLICIES]
        return json_response((200, {"sections": sections}))

    async def section(self, request: Request) -> Response:
        """GET /sessions/{id}/memory/{section}: its newest items, oldest first."""
        session, section = session_of(request), section_of(request.path_params["section"])
        agent = _agent(request)
        limit = number(request, "limit", ITEMS_SHOWN, least=1, most=ITEMS_MAX)
        memory = await self._memory.of(session)
        items = memory.items(section, agent)
        body = _section_json(memory, section, agent) | {"list": _items_json(items[-limit:])}
        return json_response((200, body))

    async def search(self, request: Request) -> Response:
        """GET /sessions/{id}/memory/search."""
        session, query = session_of(request), request.query_params.get("query", "")
        if not query.strip():
            raise BadRequest("query: words to look for")
        top_k = number(request, "top_k", FOUND_SHOWN, least=1, most=FOUND_MAX)
        named = request.query_params.get("section")
        section = section_of(named) if named else None
        memory = await self._memory.of(session)
        found = memory.search(query, top_k, section, _agent(request))
        listed = [item_json(item) | {"score": round(score, 4)} for item, score in found]
        return json_response((200, {"query": query, "list": listed}))

    async def remember(self, request: Request) -> Response:
        """POST /sessions/{id}/memory."""
        session = session_of(request)
        body = parse(RememberBody, sent(request))
        section = section_of(body.section)
        draft = Draft(
            section=section,
            content=body.content,
            agent=parse_agent_name(body.agent) if body.agent else USER,
            tags=body.tags,
            pinned=body.pinned,
            block=body.block,
        )
        _check_owner(section, body.agent)
        receipt = receipt_of(request, _remembered)
        item = await self._memory.remember(session, draft, receipt=receipt)
        return json_response(_remembered(item))

    async def edit(self, request: Request) -> Response:
        """PUT /sessions/{id}/memory/items/{item}."""
        session, item_id = session_of(request), request.path_params["item"]
        body = parse(EditBody, sent(request))
        changes = {name: value for name, value in dict(body).items() if value is not None}
        if not changes:
            raise BadRequest("nothing to change: give content, pinned, block or tags")
        item = await self._memory.edit(session, item_id, changes)
        return json_response((200, item_json(item)))

    async def forget(self, request: Request) -> Response:
        """DELETE /sessions/{id}/memory/items/{item}."""
        session, item_id = session_of(request), request.path_params["item"]
        await self._memory.forget(session, (item_id,))
        return json_response((200, {"id": item_id, "forgotten": True}))


def item_json(item: MemoryItem) -> dict[str, Any]:
    """An item as clients see it."""
    return item.model_dump(mode="json", exclude_none=True) | {"tokens": item.tokens}


def _items_json(items: Iterable[MemoryItem]) -> list[dict[str, Any]]:
    return [item_json(item) for item in items]


def _remembered(item: MemoryItem) -> Answer:
    return 201, item_json(item)


def _section_json(
    memory: Memory, section: SectionName, agent: AgentName | None = None
) -> dict[str, Any]:
    policy = POLICIES[section]
    return {
        "section": section,
        "items": len(memory.items(section, agent)),
        "tokens": memory.tokens(section, agent),
        "budget": policy.tokens_max,
        "eviction": policy.eviction,
        "of": "agent" if policy.of_agent else "team",
        "derived": policy.derived,
        "ephemeral": policy.ephemeral,
        "summarise": policy.summarise,
    }


def _check_owner(section: SectionName, agent: str | None) -> None:
    if POLICIES[section].of_agent and not agent and not POLICIES[section].derived:
        raise BadRequest(f"agent: each agent has its own section {section}; say whose")


def _agent(request: Request) -> AgentName | None:
    named = request.query_params.get("agent")
    return parse_agent_name(named) if named else None
