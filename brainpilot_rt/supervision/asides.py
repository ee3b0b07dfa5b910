"""A model call beside the conversation: a question, an answer, and what it cost as a fact.

For what the daemon itself wants to know (what a message wants, a summary). It has no tools, is no
part of any conversation, and its words are shown to nobody. Who asks commits the `model_asked`.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final, Literal

from brainpilot_rt.agents.ports import RunIdentity
from brainpilot_rt.domain.errors import FatalFault
from brainpilot_rt.domain.events import ModelAsked
from brainpilot_rt.domain.messages import UserMessage
from brainpilot_rt.domain.model_calls import AttemptFailed, ModelRef, ModelRequest, ReplyFinished
from brainpilot_rt.supervision.organs import Organs

TOKENS_MAX: Final = 2_000
"""Of the answer."""


async def ask_aside(
    organs: Organs,
    who: RunIdentity,
    purpose: Literal["classify", "compact", "summarise"],
    words: tuple[str, str],
    model: ModelRef | None = None,
) -> tuple[str, ModelAsked]:
    """The answer's text and what to record of the call.

    `words`: system prompt and question. `model`: None is the one the session is bound to. Raises
    `ProviderFault` when the model fails, `CancelledError` when the daemon stops.
    """
    if organs.liveness.closing:
        raise asyncio.CancelledError
    state = organs.manager.state(who.session)
    request = ModelRequest(
        session=who.session,
        agent=who.agent,
        role=who.role,
        run_id=who.run_id,
        turn=0,
        model=model or organs.model_of(state.provider_id, state.model_id),
        system=words[0],
        messages=(UserMessage(text=words[1]),),
        max_tokens=TOKENS_MAX,
    )
    began = organs.clock.monotonic()
    reply: ReplyFinished | None = None
    stream = organs.stream(request)
    try:
        with organs.liveness.hold("model_call"):
            async for event in stream:
                if isinstance(event, AttemptFailed) and purpose != "summarise":
                    # A run waits, and there is another way: rules, or a cut conversation.
                    raise FatalFault(event.reason)
                reply = event if isinstance(event, ReplyFinished) else reply
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()
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
    return organs.secrets.text(reply.message.text), asked
