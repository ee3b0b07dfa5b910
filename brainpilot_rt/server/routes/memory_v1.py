"""Routes about the memory of the user, which agents of every session read.

In the shapes that clients of BrainstormRouter read and send. What an agent wants to add with its
own token waits for the owner's word; to change and to forget is for the owner.
"""

from typing import Annotated, Any, Final

from pydantic import AliasChoices, Field, StrictBool
from starlette.requests import Request
from starlette.responses import Response

from brainpilot_rt.domain.errors import BadRequest, NotFound
from brainpilot_rt.domain.ids import USER, AgentName
from brainpilot_rt.domain.memory import Block, MemoryItem
from brainpilot_rt.domain.times import iso
from brainpilot_rt.server.bodies import Body, parse, sent
from brainpilot_rt.server.callers import calling_agent, refuse_agents
from brainpilot_rt.server.idempotency import json_response
from brainpilot_rt.server.ports import Backend
from brainpilot_rt.server.resources import Row
from brainpilot_rt.supervision.shared_memory import BLOCKS

FOUND_MAX: Final = 100
DOCUMENTS_MAX: Final = 100
_MANAGE: Final = "decide about the memory of the user"
_Fact = Field(validation_alias=AliasChoices("fact", "content"))


class FactBody(Body):
    """POST /v1/memory/entries and /v1/memory/shared/store."""

    fact: Annotated[str, _Fact]
    block: Block = "general"
    pinned: StrictBool = False


class FactChanges(Body):
    """PUT /v1/memory/entries/{entry}. What is not given stays as it is."""

    fact: Annotated[str | None, _Fact] = None
    pinned: StrictBool | None = None
    block: Block | None = None


class Document(Body):
    """A text that facts are taken from."""

    content: Annotated[str, Field(validation_alias=AliasChoices("content", "text"))]
    block: Block = "project"


class InitBody(Body):
    """POST /v1/memory/init. Statements are kept as they stand: no model is asked, or paid."""

    documents: Annotated[list[Document], Field(min_length=1, max_length=DOCUMENTS_MAX)]


class QueryBody(Body):
    """POST /v1/memory/query."""

    query: Annotated[str, Field(min_length=1, max_length=4_000)]
    limit: Annotated[int, Field(ge=1, le=FOUND_MAX, alias="top_k")] = 10


class ApprovalConfig(Body):
    """PUT /v1/memory/approval-config."""

    require_approval: Annotated[StrictBool, Field(alias="requireApproval")]


class SharedMemoryRoutes:
    """Handlers about the memory of the user."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._memory = backend.oversight.memory

    # --- facts ------------------------------------------------------------------------------

    async def blocks(self, _request: Request) -> Response:
        """GET /v1/memory/blocks."""
        facts = await self._memory.facts()
        body = {
            "blocks": [self._block_json(block, facts) for block in BLOCKS],
            "total_core_entries": len(facts),
            "total_archival_entries": await self._memory.others(),
        }
        return json_response((200, body))

    async def block(self, request: Request) -> Response:
        """GET /v1/memory/blocks/{block}."""
        named = request.path_params["block"]
        for block in BLOCKS:
            if block == named:
                facts = await self._memory.facts(block)
                listed = [entry_json(one) for one in facts]
                return json_response((200, {**self._block_json(block, facts), "entries": listed}))
        raise NotFound(f"there is no block {named[:80]!r}; there are {', '.join(BLOCKS)}")

    async def entries(self, _request: Request) -> Response:
        """GET /v1/memory/entries, and /v1/memory/shared/entries: oldest first."""
        listed = [entry_json(one) for one in await self._memory.facts()]
        waiting = len(self._memory.pending())
        body = {"entries": listed, "total": len(listed), "pendingApprovals": waiting}
        return json_response((200, body))

    async def append(self, request: Request) -> Response:
        """POST /v1/memory/entries."""
        body = parse(FactBody, sent(request))
        agent = calling_agent(request, self._backend.agents)
        if agent is not None and self._memory.asks_first:
            return await self._propose(body, agent)
        by = agent or USER
        item = await self._memory.remember(body.fact, body.block, pinned=body.pinned, by=by)
        return json_response((201, {"entry": entry_json(item), **entry_json(item)}))

    async def update(self, request: Request) -> Response:
        """PUT /v1/memory/entries/{entry}."""
        refuse_agents(request, self._backend.agents, _MANAGE)
        body = parse(FactChanges, sent(request))
        given = {"content": body.fact, "pinned": body.pinned, "block": body.block}
        changes = {name: value for name, value in given.items() if value is not None}
        if not changes:
            raise BadRequest("nothing to change: give fact, pinned or block")
        item = await self._memory.edit(request.path_params["entry"], changes)
        return json_response((200, {"entry": entry_json(item), **entry_json(item)}))

    async def remove(self, request: Request) -> Response:
        """DELETE /v1/memory/entries/{entry}."""
        refuse_agents(request, self._backend.agents, _MANAGE)
        entry = request.path_params["entry"]
        await self._memory.forget(entry)
        return json_response((200, {"id": entry, "deleted": True}))

    async def init(self, request: Request) -> Response:
        """POST /v1/memory/init."""
        refuse_agents(request, self._backend.agents, _MANAGE)
        body = parse(InitBody, sent(request))
        taken = await self._memory.take_in((one.content, one.block) for one in body.documents)
        kept, left_out = len(taken.items), taken.left_out
        answer = {
            "status": "partial" if left_out else "completed",
            "summary": f"{kept} statements of {len(body.documents)} documents are kept"
            + (f"; there was no room for {left_out}" if left_out else ""),
            "entries_after": len(await self._memory.facts()),
            "entries": [entry_json(one) for one in taken.items],
        }
        return json_response((200, answer))

    async def query(self, request: Request) -> Response:
        """POST /v1/memory/query: the facts that fit best."""
        body = parse(QueryBody, sent(request))
        found = await self._memory.search(body.query, body.limit)
        listed = [entry_json(item) | {"score": round(score, 4)} for item, score in found]
        return json_response((200, {"results": listed, "total": len(listed)}))

    # --- what waits for the owner's word ----------------------------------------------------

    async def store(self, request: Request) -> Response:
        """POST /v1/memory/shared/store."""
        body = parse(FactBody, sent(request))
        by = calling_agent(request, self._backend.agents) or USER
        if self._memory.asks_first:
            return await self._propose(body, by)
        item = await self._memory.remember(body.fact, body.block, pinned=body.pinned, by=by)
        return json_response((201, {"ok": True, "status": "stored", "entry": entry_json(item)}))

    async def pending(self, _request: Request) -> Response:
        """GET /v1/memory/pending, oldest first."""
        listed = [
            {
                "id": approval,
                "type": "memory",
                "status": "pending",
                "summary": body["fact"],
                "details": {"fact": body["fact"], "block": body["block"], "by": body["by"]},
                "createdAt": iso(body["at_ms"]),
                "expiresAt": None,
            }
            for approval, body in self._memory.pending().items()
        ]
        return json_response((200, {"pending": listed, "total": len(listed)}))

    async def approve(self, request: Request) -> Response:
        """POST /v1/memory/pending/{approval}/approve."""
        return await self._decide(request, approve=True)

    async def reject(self, request: Request) -> Response:
        """POST /v1/memory/pending/{approval}/reject."""
        return await self._decide(request, approve=False)

    async def config(self, _request: Request) -> Response:
        """GET /v1/memory/approval-config."""
        return json_response((200, {"requireApproval": self._memory.asks_first}))

    async def set_config(self, request: Request) -> Response:
        """PUT /v1/memory/approval-config."""
        refuse_agents(request, self._backend.agents, _MANAGE)
        body = parse(ApprovalConfig, sent(request))
        await self._memory.ask_first(wanted=body.require_approval)
        return await self.config(request)

    async def _propose(self, body: FactBody, by: AgentName) -> Response:
        approval = await self._memory.propose(body.fact, body.block, by)
        answer = {"ok": True, "status": "pending_approval", "approvalId": approval}
        return json_response((202, answer))

    async def _decide(self, request: Request, *, approve: bool) -> Response:
        refuse_agents(request, self._backend.agents, _MANAGE)
        approval = request.path_params["approval"]
        kept = await self._memory.decide(approval, approve=approve)
        status = "rejected" if kept is None else "approved"
        entry = None if kept is None else entry_json(kept)
        return json_response((200, {"id": approval, "status": status, "entry": entry}))

    def _block_json(self, block: Block, facts: list[MemoryItem]) -> dict[str, Any]:
        own = [one for one in facts if (one.block or "general") == block]
        return {
            "name": block,
            "count": len(own),
            "limit": self._memory.limits[block],
            "pinned_count": sum(one.pinned for one in own),
        }


def entry_json(item: MemoryItem) -> dict[str, Any]:
    """A fact as clients see it."""
    return {
        "id": item.id,
        "block": item.block or "general",
        "fact": item.content,
        "content": item.content,
        "pinned": item.pinned,
        "created_at": iso(item.at_ms),
        "created_by": item.agent,
    }


def shared_memory_rows(to: SharedMemoryRoutes) -> list[Row]:
    """The routes about the memory of the user."""
    here = "/v1/memory"
    entry, pending = f"{here}/entries/{{entry}}", f"{here}/pending/{{approval}}"
    found, no_block = {200: "found"}, {200: "found", 404: "no such block"}
    full = {409: "the block is full, or the key was reused", 413: "too large"}
    added = {201: "kept", 202: "waits for the owner's word", 400: "malformed", **full}
    owners = {403: "not with an agent's token"}
    changed = {200: "done", 400: "malformed", 404: "no such entry", **owners, **full}
    decided = {200: "done", 404: "nothing of that id waits", **owners, **full}
    fact, shared = (FactBody,), f"{here}/shared"
    return [
        Row("GET", f"{here}/blocks", to.blocks, "Blocks and what is in them", found),
        Row("GET", f"{here}/blocks/{{block}}", to.block, "One block", no_block),
        Row("GET", f"{here}/entries", to.entries, "All facts", found),
        Row("POST", f"{here}/entries", to.append, "Add one", added, body=fact, write=True),
        Row("PUT", entry, to.update, "Change one", changed, body=(FactChanges,), write=True),
        Row("DELETE", entry, to.remove, "Forget one", changed, write=True),
        Row("POST", f"{here}/init", to.init, "Facts of documents", changed, body=(InitBody,)),
        Row("POST", f"{here}/query", to.query, "Find", found, body=(QueryBody,), write=True),
        Row("POST", f"{shared}/store", to.store, "Propose one", added, body=fact, write=True),
        Row("GET", f"{shared}/entries", to.entries, "All facts", found),
        Row("GET", f"{here}/pending", to.pending, "What waits", found),
        Row("POST", f"{pending}/approve", to.approve, "Keep it", decided, write=True),
        Row("POST", f"{pending}/reject", to.reject, "Do not keep it", decided, write=True),
        Row("GET", f"{here}/approval-config", to.config, "Whether anything waits", found),
        Row(
            "PUT",
            f"{here}/approval-config",
            to.set_config,
            "Let it wait, or not",
            {200: "done", 400: "malformed", **owners},
            body=(ApprovalConfig,),
            write=True,
        ),
    ]
