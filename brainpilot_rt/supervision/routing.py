"""The router: which model each turn asks, and what was learnt from how that went.

Decisions are in `models/routing`, pure. Here they meet the catalogue, the prices and the log: what
is known is the fold of the `turn_rated` events of the last week, committed ones only.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fnmatch import fnmatchcase
from random import Random
from typing import Final

from brainpilot_rt.aiokit.sources import Clock
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import FatalFault
from brainpilot_rt.domain.ids import DAEMON_STREAM, AgentName, RunId, SessionId
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.eventlog.port import EventLog
from brainpilot_rt.governance.budgets import tightest
from brainpilot_rt.models.bandit import WINDOW_DAYS, Known, Rating, Statistics
from brainpilot_rt.models.prices import Quote
from brainpilot_rt.models.providers import Dialect, Providers
from brainpilot_rt.models.reward import Outcome, reward, savings
from brainpilot_rt.models.routing import Arm, Choice, Held, NoModelLeft, Turn, choose, warm
from brainpilot_rt.settings import RoutingSettings

DAY_MS: Final = 86_400_000
_TYPES: Final = frozenset({"turn_rated"})
_PAGE: Final = 500
PREFERENCES: Final = {
    "fast": "the fastest so far, as was asked for",
    "floor": "the cheapest, which will do",
    "best": "the best so far, as was asked for",
}
"""What a caller may prefer, and the reason that is given for such a choice."""

_log = logging.getLogger(__name__)

QuoteOf = Callable[[ModelRef, Usage], Awaitable[Quote]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A turn that needs a model."""

    task_class: str
    pinned: ModelRef | None
    auto: bool
    """Choose among all candidates; else the default is the only one."""
    usage: Usage
    """What it will probably take."""
    held: Held | None = None
    cached: int = 0
    """Input tokens that the prompt cache of the held model probably has."""
    failed: tuple[ModelRef, ...] = ()
    within: tuple[str, ...] = ()
    """Patterns `provider:model` the caller allows; empty: all."""
    prefer: str = ""
    """`fast`, `floor` (the cheapest) or `best` (so far): nothing is tried out; empty: it is."""
    cost_max_usd: Decimal | None = None
    """What the turn may cost by its estimate; None: whatever it costs."""
    left_usd: Decimal | None = None
    """What the budgets that bound the turn have left; None: none bounds it."""
    priced: bool = False
    """A model whose price is not known would be refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Went:
    """How a turn went."""

    choice: Choice
    usage: Usage
    cost_usd: Decimal | None
    latency_ms: int
    validity: float
    accuracy: float | None
    """Part of its tool calls that were right; None: it made none."""


class Router:
    """Chooses, and learns."""

    def __init__(
        self,
        providers: Callable[[], Providers],
        quote: QuoteOf,
        settings: RoutingSettings,
        log: EventLog,
        clock: Clock,
    ) -> None:
        self._providers = providers
        self._quote = quote
        self._settings = settings
        self._log = log
        self._clock = clock
        self._rng = Random(settings.seed)  # noqa: S311 - dice for choices, not a secret
        self._known = Statistics()
        self._arrived: list[ev.Recorded] | None = []
        log.on_commit(self._on_commit)

    @property
    def auto_for_teams(self) -> bool:
        """Whether agents of a team whose session names no model are routed."""
        return self._settings.team == "auto"

    @property
    def fallbacks_max(self) -> int:
        """Other models tried in a turn when one fails before it has said anything."""
        return self._settings.fallbacks_max

    async def load(self) -> None:
        """Read last week's ratings. Until then only what came since the start is known."""
        if len(self.candidates(auto=True)) > 1:
            await asyncio.to_thread(warm)
        since_ms = self._clock.now_ms() - WINDOW_DAYS * DAY_MS
        found: list[ev.Recorded] = []
        rows = [one for one in await self._log.sessions() if one.updated_ms >= since_ms]
        for session in (DAEMON_STREAM, *(row.session for row in rows)):
            found += await self._ratings(session, since_ms)
        found += self._arrived or []
        self._arrived = None
        known = Statistics()
        seen: set[int] = set()
        for recorded in sorted(found, key=lambda one: one.pos):
            if recorded.pos not in seen:
                seen.add(recorded.pos)
                _learn(known, recorded)
        self._known = known

    async def _ratings(self, session: SessionId, since_ms: int) -> list[ev.Recorded]:
        found: list[ev.Recorded] = []
        before: int | None = None
        while page := await self._log.read_back(session, before=before, limit=_PAGE, types=_TYPES):
            found += [one for one in page if one.at_ms >= since_ms]
            before = page[0].seq
            if page[0].at_ms < since_ms:
                break
        return found

    # --- choosing ---------------------------------------------------------------------------

    async def choose(self, wanted: Wanted) -> Choice:
        """Decide. `FatalFault` when nothing can be asked."""
        if wanted.pinned is not None:
            profile, model = self._providers().resolve(
                wanted.pinned
            )  # fails loudly, never replaced
            pinned = ModelRef(provider=profile.id, model=model)
            turn = Turn(task_class=wanted.task_class, arms=(), pinned=pinned, failed=wanted.failed)
            return self._decided(turn)
        models = self.candidates(auto=wanted.auto, within=wanted.within)
        if wanted.priced:
            models = await self._priced(models, wanted.usage) or models
        if wanted.prefer:
            models = [one for one in models if one not in wanted.failed] or models
            preferred = await self._preferred(models, wanted)
            turn = Turn(
                task_class=wanted.task_class, arms=[Arm(model=preferred)], failed=wanted.failed
            )
            choice = self._decided(turn)
            return choice if wanted.failed else replace(choice, reason=PREFERENCES[wanted.prefer])
        arms = await self._arms(models, wanted) if len(models) > 1 else []
        turn = Turn(
            task_class=wanted.task_class,
            arms=arms or [Arm(model=one) for one in models],
            held=wanted.held,
            failed=wanted.failed,
        )
        return self._decided(turn)

    def candidates(self, *, auto: bool, within: Sequence[str] = ()) -> list[ModelRef]:
        """The models that may be chosen among; the default comes first."""
        providers = self._providers()
        default = self._default()
        if not auto or default is None:
            profile, model = providers.resolve(None)  # fails loudly where there is none
            return [ModelRef(provider=profile.id, model=model)]
        patterns = [*within] or [*self._settings.models]
        found = [default] if not patterns or _allowed(default, patterns) else []
        for one in providers.profiles:
            local = one.dialect in {Dialect.OFFLINE, Dialect.MOCK}
            if one.problem or (local and not patterns and one.id != default.provider):
                continue
            refs = [ModelRef(provider=one.id, model=name) for name in one.models]
            free_aside = one.free and one.id != default.provider and not patterns
            found += [
                ref
                for ref in refs
                if ref not in found and not free_aside and (not patterns or _allowed(ref, patterns))
            ]
        return found

    async def _priced(self, models: list[ModelRef], usage: Usage) -> list[ModelRef]:
        return [one for one in models if (await self._quote(one, usage)).cost_usd is not None]

    async def _preferred(self, models: list[ModelRef], wanted: Wanted) -> ModelRef:
        """The first of the models by what is preferred; unknown ones come last."""
        if wanted.prefer == "floor":
            costs = {one: (await self._quote(one, wanted.usage)).counted_usd for one in models}
            return min(models, key=lambda one: costs[one])
        known = {one: self.known(wanted.task_class, one) for one in models}
        if wanted.prefer == "fast":
            return min(models, key=lambda one: known[one].latency_ms or float("inf"))
        return max(models, key=lambda one: known[one].rewards.mean if known[one].samples else -1.0)

    async def _arms(self, models: Sequence[ModelRef], wanted: Wanted) -> list[Arm]:
        """The models with their prices, and without those that money does not reach for.

        Where it reaches for none, all stay: the call that crosses a cap may be made (D21).
        """
        arms = [await self._arm(one, wanted) for one in models]
        if all(one.excluded for one in arms if one.model not in wanted.failed):
            return [replace(one, excluded="") for one in arms]
        return arms

    async def _arm(self, model: ModelRef, wanted: Wanted) -> Arm:
        usage, cached = wanted.usage, min(wanted.cached, wanted.usage.input)
        cold = warm = await self._quote(model, usage)
        if cached:
            read = {"input": usage.input - cached, "cache_read": cached}
            warm = await self._quote(model, usage.model_copy(update=read))
        is_held = wanted.held is not None and wanted.held.model == model
        estimate = (warm if is_held else cold).counted_usd
        left = tightest(wanted.cost_max_usd, wanted.left_usd)
        return Arm(
            model=model,
            excluded="" if left is None or estimate <= left else "its estimate is above the budget",
            warm_usd=warm.cost_usd,
            cold_usd=cold.cost_usd,
        )

    def _decided(self, turn: Turn) -> Choice:
        day = self._clock.now_ms() // DAY_MS
        held = turn.held
        told_by = held.task_class if held is not None and held.in_loop else turn.task_class
        known = {arm.model: self._known.known(told_by, arm.model, day) for arm in turn.arms}
        try:
            return choose(turn, known, self._rng)
        except NoModelLeft as left:
            raise FatalFault(str(left), code="model_unavailable") from None

    # --- learning ---------------------------------------------------------------------------

    async def rated(
        self, went: Went, *, run_id: RunId, agent: AgentName, turn: int
    ) -> ev.TurnRated:
        """What a turn was worth, and what the default model would have cost."""
        choice, usage = went.choice, went.usage
        day = self._clock.now_ms() // DAY_MS
        others = [one.model for one in choice.candidates]
        if len(others) <= 1:  # nothing was chosen: it is compared with what could have been
            others = list(dict.fromkeys((choice.model, *self._peers())))
        costs = [(await self._quote(one, usage)).cost_usd for one in others if one != choice.model]
        costs.append(went.cost_usd)
        known: list[Known] = [self._known.known(choice.task_class, one, day) for one in others]
        quality = self._known.quality(choice.task_class, choice.model, day, went.accuracy)
        worth = reward(
            Outcome(
                validity=went.validity,
                quality=quality,
                cost_usd=went.cost_usd,
                cheapest_usd=min((one for one in costs if one is not None), default=None),
                latency_ms=went.latency_ms,
                fastest_ms=min((one.latency_ms for one in known if one.latency_ms), default=None),
            )
        )
        baseline = self._default()
        price = went.cost_usd
        if baseline != choice.model:
            price = (await self._quote(baseline, usage)).cost_usd if baseline else None
        saved = savings(price, went.cost_usd)
        return ev.TurnRated(
            run_id=run_id,
            agent=agent,
            turn=turn,
            model=choice.model,
            task_class=choice.task_class,
            reward=round(worth, 6),
            validity=went.validity,
            quality=went.accuracy,
            latency_ms=went.latency_ms,
            usage=usage,
            cost_usd=went.cost_usd,
            baseline=baseline,
            baseline_cost_usd=price,
            savings_usd=saved.saved_usd if saved else None,
        )

    def _peers(self) -> list[ModelRef]:
        return self.candidates(auto=True) if self._default() is not None else []

    def _default(self) -> ModelRef | None:
        """The default model; None when it can not be had."""
        try:
            profile, model = self._providers().resolve(None)
        except FatalFault:
            return None
        return ModelRef(provider=profile.id, model=model)

    def known(self, task_class: str, model: ModelRef) -> Known:
        """What the last week says of a model in one class of turn."""
        return self._known.known(task_class, model, self._clock.now_ms() // DAY_MS)

    def _on_commit(self, committed: Sequence[ev.Recorded]) -> None:
        for recorded in committed:
            if isinstance(recorded.event, ev.TurnRated):
                if self._arrived is not None:
                    self._arrived.append(recorded)
                _learn(self._known, recorded)


def _learn(known: Statistics, recorded: ev.Recorded) -> None:
    event = recorded.event
    assert isinstance(event, ev.TurnRated)
    rating = Rating(
        reward=event.reward,
        validity=event.validity,
        quality=event.quality,
        latency_ms=event.latency_ms,
    )
    known.record(event.task_class, event.model, recorded.at_ms // DAY_MS, rating)


def _allowed(model: ModelRef, patterns: Sequence[str]) -> bool:
    name = f"{model.provider}:{model.model}"
    return any(fnmatchcase(name, one) or model.model == one for one in patterns)
