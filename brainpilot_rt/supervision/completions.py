"""One answer of a model to a client that brings its whole conversation and its own tools.

It belongs to no session and is asked once: which model answers, what it may cost and what
guardrails say of it are decided where they are for every other call.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, aclosing, nullcontext
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from brainpilot_rt.aiokit.sources import NewId
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import FatalFault, NotFound
from brainpilot_rt.domain.ids import DAEMON_STREAM, AgentName, RunId
from brainpilot_rt.domain.messages import Message
from brainpilot_rt.domain.model_calls import ModelEvent, ModelRef, ModelRequest
from brainpilot_rt.domain.tools import ToolSpec
from brainpilot_rt.models.providers import Providers
from brainpilot_rt.sessions.manager import SessionManager
from brainpilot_rt.supervision.calls import Calls
from brainpilot_rt.supervision.chatcalls import Sink, governed_chat
from brainpilot_rt.supervision.routing import PREFERENCES, Wanted
from brainpilot_rt.supervision.secrets import Secrets

CHAT: Final = AgentName("chat")
"""Whom the ledger names as the spender."""
AUTO: Final = "auto"
"""`auto:fast` the quickest, `auto:floor` the cheapest, `auto:best` the one that did best so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a client wants answered."""

    model: str
    """`auto`, `auto:fast`, `auto:floor`, `auto:best`, `provider:model` or a configured name."""
    messages: tuple[Message, ...]
    system: str = ""
    tools: tuple[ToolSpec, ...] = ()
    """The client's own; their calls are part of the answer."""
    max_tokens: int | None = None
    temperature: float | None = None
    within: tuple[str, ...] = ()
    """Patterns `provider:model` of the models that may answer; empty: any."""
    cost_max_usd: Decimal | None = None
    """The estimate above which it is not asked."""


@dataclass(slots=True)
class Known:
    """What is known of an answer so far. Money is None where a price is not known."""

    selected: ev.ModelSelected | None = None
    estimate_usd: Decimal | None = None
    settled: ev.SpendSettled | None = None
    rated: ev.TurnRated | None = None
    fired: list[ev.GuardrailFired] = field(default_factory=list[ev.GuardrailFired])

    def note(self, fact: ev.Event) -> None:
        """Take in a fact."""
        match fact:
            case ev.ModelSelected():
                self.selected = fact
            case ev.SpendReserved(amount_usd=amount):
                self.estimate_usd = amount
            case ev.SpendSettled():
                self.settled = fact
            case ev.TurnRated():
                self.rated = fact
            case ev.GuardrailFired():
                self.fired.append(fact)
            case _:
                pass


class Completion:
    """An answer under way."""

    def __init__(self, known: Known, events: AsyncGenerator[ModelEvent, None]) -> None:
        self.known = known
        self.events = events
        """Deltas, then one `ReplyFinished`; whoever takes them closes them."""


class Completions:
    """Answers clients that bring their conversation."""

    def __init__(
        self,
        calls: Calls,
        manager: SessionManager,
        secrets: Secrets,
        providers: Callable[[], Providers],
        new_id: NewId,
    ) -> None:
        self.lease: Callable[[], AbstractContextManager[None]] = nullcontext
        """Keeps the daemon alive while an answer is under way."""
        self._calls = calls
        self._manager = manager
        self._secrets = secrets
        self._providers = providers
        self._new_id = new_id

    def models(self) -> list[ModelRef]:
        """The configured models that can be called, the default first."""
        providers = self._providers()
        profile, name = providers.resolve(None)
        default = ModelRef(provider=profile.id, model=name)
        listed = [
            ModelRef(provider=one.id, model=model)
            for one in providers.profiles
            if one.problem is None
            for model in one.models
        ]
        return [default, *(one for one in listed if one != default)]

    def pinned(self, name: str) -> ModelRef | None:
        """The model of a name; None: the router chooses. `NotFound` when there is none such."""
        auto, _, prefer = name.partition(":")
        if auto == AUTO and prefer in ("", *PREFERENCES):
            return None
        provider, _, model = name.partition(":")
        known = self.models()
        if model and any(one.provider == provider for one in known):
            wanted = ModelRef(provider=provider, model=model)
            try:
                profile, exact = self._providers().resolve(wanted)
            except FatalFault as fault:
                raise NotFound(fault.message, code="model_not_found") from None
            return ModelRef(provider=profile.id, model=exact)
        for one in known:
            if one.model == name:
                return one
        raise NotFound(f"no model or agent is called {name[:80]!r}", code="model_not_found")

    def ask(self, asked: Asked) -> Completion:
        """Begin; nothing is sent before the first event is taken."""
        pinned = self.pinned(asked.model)
        request = ModelRequest(
            session=DAEMON_STREAM,
            agent=CHAT,
            role=CHAT,
            run_id=RunId(f"chat_{self._new_id()}"),
            turn=0,
            model=pinned,
            system=asked.system,
            messages=asked.messages,
            tools=asked.tools,
            max_tokens=asked.max_tokens,
            temperature=asked.temperature,
        )
        wanted = Wanted(
            task_class="chat",
            pinned=pinned,
            auto=pinned is None,
            usage=self._calls.money.expected.before(request),
            prefer=asked.model.partition(":")[2] if pinned is None else "",
            within=asked.within,
            cost_max_usd=asked.cost_max_usd,
        )
        known = Known()
        sink = Sink(self._manager, known.note)
        events = governed_chat(self._calls, sink, self._secrets, request, wanted)
        return Completion(known, self._leased(events))

    async def _leased(
        self, events: AsyncGenerator[ModelEvent, None]
    ) -> AsyncGenerator[ModelEvent, None]:
        with self.lease():
            async with aclosing(events) as given:
                async for event in given:
                    yield event
