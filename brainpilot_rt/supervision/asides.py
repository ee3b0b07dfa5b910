"""A model call beside the conversation: a question, an answer, and what it cost as a fact.

For what the daemon itself wants to know (what a message wants, a summary). It has no tools, is no
part of any conversation, and its words are shown to nobody. Who asks commits the `model_asked`.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final, Literal

from brainpilot_rt.agents.ports import RunIdentity
from brainpilot_rt.aiokit.tasks import finish_shielded
from brainpilot_rt.domain.errors import FatalFault, ProviderFault
from brainpilot_rt.domain.events import Event, ModelAsked
from brainpilot_rt.domain.governing import SpendPurpose
from brainpilot_rt.domain.messages import UserMessage
from brainpilot_rt.domain.model_calls import AttemptFailed, ModelRef, ModelRequest, ReplyFinished
from brainpilot_rt.supervision.budgets import Exhausted
from brainpilot_rt.supervision.money import EXHAUSTED, Caller, Purse
from brainpilot_rt.supervision.organs import Organs

TOKENS_MAX: Final = 2_000
"""Of the answer."""


async def ask_aside(
    organs: Organs,
    who: RunIdentity,
    purpose: Literal["classify", "compact", "summarise"],
    words: tuple[str, str],
    model: ModelRef | None = None,
) -> tuple[str, tuple[Event, ...]]:
    """The answer's text and what to record of the call.

    `words`: system prompt and question. `model`: None is the one the session is bound to. Raises
    `ProviderFault` when the model fails or no money is left, `CancelledError` when the daemon
    stops.
    """
    if organs.liveness.closing:
        raise asyncio.CancelledError
    request = _request(organs, who, words, model)

    async def record(*facts: Event) -> None:
        # A summary may be made when its run has ended: what it costs is recorded all the same.
        if facts:
            await organs.manager.amend(who.session, lambda _state, _moment: list(facts))

    began = organs.clock.monotonic()
    purse = Purse(organs.governing.calls.money, _caller(organs, who))
    await record(*await _begun(purse, request, purpose))
    reply: ReplyFinished | None = None
    stream = organs.stream(request)
    reason = "cancelled"
    try:
        with organs.liveness.hold("model_call"):
            async for event in stream:
                if isinstance(event, AttemptFailed) and purpose != "summarise":
                    # A run waits, and there is another way: rules, or a cut conversation.
                    raise FatalFault(event.reason)
                reply = event if isinstance(event, ReplyFinished) else reply
    except ProviderFault:
        reason = "failed"
        raise
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()
        if reply is None:
            await finish_shielded(record(*await purse.abandon(request, 0, reason)))
    if reply is None:
        raise FatalFault("the model's answer had no end")
    asked = ModelAsked(
        run_id=who.run_id,
        agent=who.agent,
        purpose=purpose,
        model=reply.model,
        usage=reply.usage,
        cost_usd=reply.cost_usd,
        duration_ms=round((organs.clock.monotonic() - began) * 1000),
    )
    return organs.secrets.text(reply.message.text), (*await purse.charge(reply), asked)


def _request(
    organs: Organs, who: RunIdentity, words: tuple[str, str], model: ModelRef | None
) -> ModelRequest:
    state = organs.manager.state(who.session)
    wanted = model or organs.model_of(state.provider_id, state.model_id)
    return ModelRequest(
        session=who.session,
        agent=who.agent,
        role=who.role,
        run_id=who.run_id,
        turn=0,
        model=wanted or organs.governing.router.candidates(auto=False)[0],
        system=words[0],
        messages=(UserMessage(text=words[1]),),
        max_tokens=TOKENS_MAX,
    )


def _caller(organs: Organs, who: RunIdentity) -> Caller:
    run = organs.manager.state(who.session).runs.get(who.run_id)
    return Caller(
        session=who.session,
        agent=who.agent,
        run_id=who.run_id,
        root_id=run.root_id if run else None,
        host_run_id=run.host_run_id if run else None,
    )


async def _begun(purse: Purse, request: ModelRequest, purpose: SpendPurpose) -> tuple[Event, ...]:
    assert request.model is not None
    try:
        return await purse.begin(request, request.model, purpose)
    except Exhausted as refused:
        raise FatalFault(refused.message, code=EXHAUSTED) from None
