"""From a request to a model's answer: which provider, how often to try, what it cost.

`Dispatcher.stream` is the model port. It resolves the model, speaks the provider's dialect, tries
again when that can help, and fills in the cost. Attempts follow each other only while nothing has
been said: once a delta is out, a failure is the caller's to handle, because trying again would say
it twice. A wait between attempts is announced (`AttemptFailed`), so that a pause is never mistaken
for a stall.

One gate per provider keeps twenty agents from storming it: after a failure nobody calls before the
time it asked for, and then one after the other until a call succeeds.

Nothing here ends a call because it is silent (D6). Cancelling the stream closes the connection.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, assert_never

from brainpilot_rt.aiokit.backoff import Backoff
from brainpilot_rt.aiokit.sources import Clock, NewId
from brainpilot_rt.domain.errors import FatalFault, RetryableFault
from brainpilot_rt.domain.model_calls import (
    AttemptFailed,
    ModelEvent,
    ModelRef,
    ModelRequest,
    ReplyFinished,
)
from brainpilot_rt.models import anthropic, mock, offline, openai_chat
from brainpilot_rt.models.conversation import Transport, converse
from brainpilot_rt.models.http import Http
from brainpilot_rt.models.prices import Prices
from brainpilot_rt.models.providers import Dialect, ProviderProfile, Providers

SPACING_S: Final = 0.25
"""Between two calls to a provider that is in trouble."""
BACKOFF: Final = Backoff(base_s=2.0, cap_s=32.0, retry_after_cap_s=120.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how long; the defaults are BrainPilot's (five tries, 2 to 32 s)."""

    attempts_max: int = 5
    backoff: Backoff = BACKOFF
    """A provider that asks for a longer wait than the cap fails the call at once, visibly."""


class Gate:
    """Holds back the calls to one provider while it is in trouble."""

    def __init__(self) -> None:
        self._closed_until = 0.0
        self._next_slot = 0.0
        self._troubled = False

    def trouble(self, delay_s: float) -> None:
        """A call failed: nobody calls for this long."""
        self._troubled = True
        until = asyncio.get_running_loop().time() + delay_s
        self._closed_until = max(self._closed_until, until)

    def fine(self) -> None:
        """A call got an answer: the gate is open for all."""
        self._troubled = False
        self._closed_until = 0.0

    async def enter(self) -> None:
        """Wait for the time to call."""
        loop = asyncio.get_running_loop()
        while self._troubled:
            slot = max(loop.time(), self._closed_until, self._next_slot)
            self._next_slot = slot + SPACING_S
            await asyncio.sleep(slot - loop.time())
            if loop.time() >= self._closed_until:
                return


class Dispatcher:
    """The model port over the configured providers."""

    def __init__(
        self,
        providers: Providers,
        *,
        clock: Clock,
        new_id: NewId,
        http: Transport | None = None,
        retry: RetryPolicy | None = None,
        roll: Callable[[], float] = random.random,
    ) -> None:
        """`roll` gives numbers in [0, 1) for the jitter."""
        self._providers = providers
        self._clock = clock
        self._new_id = new_id
        self._retry = retry or RetryPolicy()
        self._roll = roll
        self._http: Transport = http or Http()
        self._prices = Prices()
        self._gates: defaultdict[str, Gate] = defaultdict(Gate)

    @property
    def providers(self) -> Providers:
        """The profiles in use."""
        return self._providers

    def use(self, providers: Providers) -> None:
        """Take other profiles for the calls that follow; those under way keep theirs."""
        self._providers = providers

    def is_free(self, model: ModelRef | None) -> bool:
        """Whether a call of this model (None: the default) costs nothing, not even time."""
        try:
            profile, _ = self._providers.resolve(model)
        except FatalFault:
            return False
        return profile.dialect is Dialect.OFFLINE

    def costs_nothing(self, model: ModelRef | None) -> bool:
        """Whether a call of this model (None: the default) costs no money."""
        try:
            return self._providers.resolve(model)[0].free
        except FatalFault:
            return False

    async def warm(self) -> None:
        """Import what the default provider needs, at an idle moment."""
        profile = next(
            (p for p in self._providers.profiles if p.id == self._providers.default), None
        )
        if profile and profile.dialect in {Dialect.ANTHROPIC, Dialect.OPENAI_CHAT}:
            await self._http.warm()
            await self._prices.warm()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Answer one request. Raises `ProviderFault` only."""
        profile, model = self._providers.resolve(request.model)
        if profile.dialect in {Dialect.OFFLINE, Dialect.MOCK}:
            async with aclosing(self._speak(profile, model, request)) as events:
                async for event in events:
                    yield event
            return
        gate = self._gates[profile.id]
        attempt = 0
        while True:
            attempt += 1
            await gate.enter()
            spoken = False
            try:
                async with aclosing(self._speak(profile, model, request)) as events:
                    async for event in events:
                        spoken = True
                        gate.fine()
                        if isinstance(event, ReplyFinished):
                            yield await self._priced(event, profile)
                        else:
                            yield event
            except RetryableFault as fault:
                delay_s = self._delay_s(attempt, fault)
                gate.trouble(delay_s or 0.0)
                if spoken or delay_s is None:
                    raise
                failed = AttemptFailed(
                    attempt=attempt,
                    attempts_max=self._retry.attempts_max,
                    delay_s=delay_s,
                    reason=fault.message,
                )
            else:
                return
            yield failed
            await asyncio.sleep(failed.delay_s)

    def _speak(
        self, profile: ProviderProfile, model: str, request: ModelRequest
    ) -> AsyncGenerator[ModelEvent, None]:
        ref = ModelRef(provider=profile.id, model=model)
        match profile.dialect:
            case Dialect.ANTHROPIC:
                call = anthropic.build(profile, model, request)
                fold = anthropic.AnthropicFold(request, ref, self._new_id)
                return converse(self._http, call, fold, self._clock.now)
            case Dialect.OPENAI_CHAT:
                call = openai_chat.build(profile, model, request)
                chat = openai_chat.OpenAiChatFold(request, ref, self._new_id)
                return converse(self._http, call, chat, self._clock.now)
            case Dialect.OFFLINE:
                return offline.stream(request)
            case Dialect.MOCK:
                return mock.stream(request)
            case Dialect.UNSUPPORTED:
                raise AssertionError("resolve() refuses a profile that can not be called")
            case _:
                assert_never(profile.dialect)

    async def _priced(self, event: ReplyFinished, profile: ProviderProfile) -> ReplyFinished:
        cost = await self._prices.cost(profile, event.model.model, event.usage)
        return event.model_copy(update={"cost_usd": cost})

    def _delay_s(self, attempt: int, fault: RetryableFault) -> float | None:
        """Seconds until the next attempt; None when there is none."""
        asked = fault.retry_after_s or 0.0
        too_long = asked > self._retry.backoff.retry_after_cap_s
        if attempt >= self._retry.attempts_max or too_long:
            return None
        return self._retry.backoff.delay_s(attempt, self._roll(), asked)
