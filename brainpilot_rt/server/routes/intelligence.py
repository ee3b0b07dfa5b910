"""Routes about routing: how models stand, what was saved, each decision as it is made, replay.

Shapes are those that clients of BrainstormRouter read; figures are sums over the log of this
daemon. Means are of the last seven days, as the router's own.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import Field, StrictBool
from starlette.requests import Request
from starlette.responses import Response

from brainpilot_rt.domain.errors import BadRequest
from brainpilot_rt.domain.events import TurnRated
from brainpilot_rt.domain.ids import parse_agent_name, parse_session_id
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.domain.times import iso
from brainpilot_rt.models.bandit import WINDOW_DAYS, Known
from brainpilot_rt.models.replay import POLICIES, Estimate
from brainpilot_rt.models.standings import Routed, Standing, advised, ranks, saved, standings
from brainpilot_rt.models.task_classes import TaskClass
from brainpilot_rt.server.bodies import Body, parse, sent
from brainpilot_rt.server.hub import Hub
from brainpilot_rt.server.idempotency import json_response
from brainpilot_rt.server.ports import Backend
from brainpilot_rt.server.queries import number
from brainpilot_rt.server.resources import Row
from brainpilot_rt.server.routing_stream import routing_stream
from brainpilot_rt.server.stream import HEADERS

CLASSES: Final[Sequence[str]] = get_args(TaskClass)
DAYS_MAX: Final = 90
LISTED_MAX: Final = 1_000
_POS_DIGITS_MAX: Final = 18
_PERIODS: Final = {"day": 1, "week": 7, "month": 30}
_SORTS: Final = ("reward", "quality", "speed", "value", "requests")


class OutcomeBody(Body):
    """POST /v1/agents/{id}/dispatch-outcomes: what came of an agent's latest turn."""

    session_id: str
    run_id: str | None = None
    outcome: Literal["success", "failure"] | None = None
    success: StrictBool | None = None
    score: Annotated[float, Field(ge=0, le=1)] | None = None
    """Instead of a success or a failure."""


class IntelligenceRoutes:
    """Handlers about choices of models."""

    def __init__(self, backend: Backend, hub: Hub) -> None:
        self._backend = backend
        self._insight = backend.oversight.insight
        self._hub = hub

    # --- how models stand -------------------------------------------------------------------

    async def leaderboard(self, request: Request) -> Response:
        """GET /v1/models/leaderboard."""
        limit, offset = number(request, "limit", 100, most=LISTED_MAX), number(request, "offset", 0)
        sort, provider = (
            request.query_params.get("sort", "reward"),
            request.query_params.get("provider"),
        )
        if sort not in _SORTS:
            raise BadRequest(f"sort: one of {', '.join(_SORTS)}")
        rated = await self._insight.ratings(WINDOW_DAYS)
        rows = _ranked(standings(rated, self._insight.candidates()), sort)
        kept = [one for one in rows if provider in (None, one["provider"])]
        page = {"total": len(kept), "limit": limit, "offset": offset, "windowDays": WINDOW_DAYS}
        return json_response((200, {"rankings": kept[offset : offset + limit], **page}))

    async def rankings(self, request: Request) -> Response:
        """GET /v1/intelligence/rankings: what the router knows, by class of turn."""
        found = [
            {"task_type": one, "models": _known_json(self._insight.known(one))}
            for one in _classes(request)
        ]
        return json_response((200, {"rankings": found, "windowDays": WINDOW_DAYS}))

    async def advise(self, request: Request) -> Response:
        """GET /v1/intelligence/advise: which model did best, and how sure that is."""
        found = [_advice_json(one, self._insight.known(one)) for one in _classes(request)]
        return json_response((200, {"recommendations": found, "windowDays": WINDOW_DAYS}))

    async def savings(self, request: Request) -> Response:
        """GET /v1/intelligence/savings: the default model's price less what was paid; signed."""
        period = request.query_params.get("period", "week")
        if period not in _PERIODS:
            raise BadRequest(f"period: one of {', '.join(_PERIODS)}")
        rated = await self._insight.ratings(_PERIODS[period])
        models = {one.model: name_of(one.model) for one in rated}
        by_model = [
            {"model": name, **_savings_json([one for one in rated if one.model == model])}
            for model, name in models.items()
        ]
        body = {"period": period, **_savings_json(rated), "by_model": by_model}
        return json_response((200, body))

    # --- decisions --------------------------------------------------------------------------

    async def choices(self, request: Request) -> Response:
        """GET /v1/routing/choices: rated turns with how their model was chosen, newest first."""
        limit, days = number(request, "limit", 100, most=LISTED_MAX), _days(request)
        found = await self._insight.choices(days)
        listed = [choice_json(one) for one in found[: -limit - 1 : -1]]
        return json_response((200, {"choices": listed, "total": len(found), "days": days}))

    async def replay(self, request: Request) -> Response:
        """GET /v1/routing/replay: the same turns under other policies."""
        days, policy = _days(request), request.query_params.get("policy")
        estimates = await self._insight.replayed([policy] if policy else POLICIES, days)
        body = {"days": days, "estimates": [_estimate_json(one) for one in estimates]}
        return json_response((200, body))

    async def stream(self, request: Request) -> Response:
        """GET /v1/routing-stream: decisions and their outcomes as they are made."""
        last = request.headers.get("last-event-id") or request.query_params.get("after")
        if last is not None and not (last.isdecimal() and len(last) <= _POS_DIGITS_MAX):
            raise BadRequest("Last-Event-ID: a number that this stream gave", code="bad_cursor")
        self._hub.admit()
        if request.method == "HEAD":
            response = Response()
            response.raw_headers = list(HEADERS)
            return response
        return routing_stream(self._backend, self._hub, None if last is None else int(last))

    async def outcome(self, request: Request) -> Response:
        """POST /v1/agents/{id}/dispatch-outcomes."""
        agent = parse_agent_name(request.path_params["id"])
        body = parse(OutcomeBody, sent(request))
        said = body.success if body.outcome is None else body.outcome == "success"
        score = body.score if said is None else float(said)
        if score is None:
            raise BadRequest("outcome: success or failure, or a score from 0 to 1")
        session = parse_session_id(body.session_id)
        rated = await self._insight.feedback(session, agent, body.run_id, score)
        told = {"model": name_of(rated.model), "task_type": rated.task_class, "reward": score}
        return json_response((200, {"recorded": True, "run_id": rated.run_id, **told}))

    async def discovery(self, request: Request) -> Response:
        """GET /v1/discovery: what there is, for a client that has just come."""
        del request
        profiles = self._insight.providers().profiles
        day = self._backend.budgets.status()["daily"]
        body = {
            "health": "ok" if not self._backend.ready() else "degraded",
            "service": "brainpilot-rt",
            "version": self._backend.version,
            "models": {
                "available": sum(len(one.models) for one in profiles),
                "runnable": sum(len(one.models) for one in profiles if not one.problem),
            },
            "budget": {
                "remaining_usd": day["remaining_usd"],
                "limit_usd": day["limit_usd"],
                "period": "day",
            },
            "capabilities": _CAPABILITIES,
            "openapi": "/openapi.json",
        }
        return json_response((200, body))


_CAPABILITIES: Final = [
    "agent-runs",
    "chat-completions",
    "managed-agents",
    "routing",
    "budgets",
    "guardrails",
    "tool-firewall",
    "approvals",
    "mcp",
    "memory",
    "audit",
]


def _days(request: Request) -> int:
    return number(request, "days", WINDOW_DAYS, least=1, most=DAYS_MAX)


def _classes(request: Request) -> Sequence[str]:
    wanted = request.query_params.get("task_type")
    if wanted is not None and wanted not in CLASSES:
        raise BadRequest(f"task_type: one of {', '.join(CLASSES)}")
    return CLASSES if wanted is None else (wanted,)


# --- as JSON ----------------------------------------------------------------------------------


def name_of(model: ModelRef) -> str:
    """A model in one word."""
    return f"{model.provider}:{model.model}"


def money(usd: Decimal | None) -> float | None:
    """On the wire money is a number."""
    return None if usd is None else float(usd)


def _ranked(found: Sequence[Standing], sort: str) -> list[dict[str, Any]]:
    """Rows in the wanted order; who has no value stands last."""
    by = {
        "reward": ranks(found, lambda one: one.reward),
        "quality": ranks(found, lambda one: one.quality),
        "speed": ranks(found, lambda one: None if one.latency_ms is None else -one.latency_ms),
        "value": ranks(found, _value),
        "requests": ranks(found, lambda one: one.turns),
    }
    rows = [
        {
            "model": one.model.model,
            "provider": one.model.provider,
            "rank": by["reward"][at],
            "quality_rank": by["quality"][at],
            "speed_rank": by["speed"][at],
            "value_rank": by["value"][at],
            "request_count": one.turns,
            "mean_reward": one.reward,
            "validity": one.validity,
            "quality": one.quality,
            "avg_latency_ms": one.latency_ms,
            "avg_cost_usd": money(one.cost_usd),
            "unpriced": one.unpriced,
        }
        for at, one in enumerate(found)
    ]
    order = sorted(range(len(rows)), key=lambda at: by[sort][at] or len(rows) + 1)
    return [rows[at] for at in order]


def _value(one: Standing) -> float | None:
    """Reward for money: a free model first."""
    if one.reward is None or one.cost_usd is None:
        return None
    return one.reward / float(one.cost_usd) if one.cost_usd else float("inf")


def _known_json(found: Sequence[tuple[ModelRef, Known]]) -> list[dict[str, Any]]:
    best = sorted(found, key=lambda one: (not one[1].samples, -one[1].rewards.mean))
    return [
        {
            "rank": rank,
            "model": model.model,
            "provider": model.provider,
            "samples": known.samples,
            "mean_reward": known.rewards.mean if known.samples else None,
            "deviation": known.deviation if known.samples else None,
            "validity": known.validity if known.samples else None,
            "quality": known.quality,
            "avg_latency_ms": known.latency_ms,
        }
        for rank, (model, known) in enumerate(best, 1)
    ]


def _advice_json(task_class: str, found: Sequence[tuple[ModelRef, Known]]) -> dict[str, Any]:
    advice = advised(found)
    if advice is None:
        why = "no turn of this class was rated in the last week; the default model"
        model = name_of(found[0][0]) if found else None
        return {
            "taskType": task_class,
            "recommendedModel": model,
            "confidence": 0.0,
            "reasoning": why,
            "samples": 0,
            "alternatives": [],
        }
    others = [one for one in found if one[0] != advice.model]
    known = advice.known
    return {
        "taskType": task_class,
        "recommendedModel": name_of(advice.model),
        "confidence": round(advice.confidence, 4),
        "reasoning": f"mean reward {known.rewards.mean:.3f} over {known.samples} turns",
        "samples": known.samples,
        "alternatives": [
            {"model": name_of(model), "score": one.rewards.mean if one.samples else None}
            for model, one in others
        ],
    }


def _savings_json(rated: Sequence[TurnRated]) -> dict[str, Any]:
    found = saved(rated)
    return {
        "turns": found.turns,
        "unknown": found.unknown,
        "baseline_usd": money(found.money.baseline_usd),
        "actual_usd": money(found.money.actual_usd),
        "savings_usd": money(found.money.saved_usd),
        "savings_percent": found.money.percent,
    }


def choice_json(one: Routed) -> dict[str, Any]:
    """A choice with all it was made from, and what came of it."""
    chosen, rated = one.chosen, one.rated
    return {
        "at": iso(one.at_ms),
        "session": one.session,
        "agent": chosen.agent,
        "runId": chosen.run_id,
        "turn": chosen.turn,
        "taskType": rated.task_class,
        "model": name_of(chosen.model),
        "phase": chosen.phase,
        "reason": chosen.reason,
        "propensity": chosen.propensity,
        "insteadOf": None if chosen.instead_of is None else name_of(chosen.instead_of),
        "candidates": [
            {"model": name_of(each.model), **each.model_dump(exclude={"model"})}
            for each in chosen.candidates
        ],
        "reward": rated.reward,
        "latencyMs": rated.latency_ms,
        "costUsd": money(rated.cost_usd),
        "savingsUsd": money(rated.savings_usd),
    }


def _estimate_json(one: Estimate) -> dict[str, Any]:
    return {
        "policy": one.policy,
        "turns": one.turns,
        "leftOut": one.left_out,
        "matched": one.matched,
        "effective": one.effective,
        "loggedReward": one.logged_reward,
        "reward": one.reward,
        "interval": one.interval,
        "ips": one.ips,
        "loggedUsd": money(one.logged_usd),
        "usd": money(one.usd),
        "unpriced": one.unpriced,
    }


_READ: Final = {200: "found", 400: "not a value of that parameter"}


def intelligence_rows(to: IntelligenceRoutes) -> list[Row]:
    """The routes about choices of models."""
    read = _READ
    of_class = {"task_type": f"one of {', '.join(CLASSES)}"}
    page = {"sort": ", ".join(_SORTS), "provider": "its id", "limit": "rows", "offset": "rows"}
    period, days = {"period": ", ".join(_PERIODS)}, {"days": f"at most {DAYS_MAX} (7)"}
    policy = days | {"policy": f"{', '.join(POLICIES)} or model=<provider>:<model>; none: all"}
    here = "/v1/intelligence"
    return [
        Row("GET", "/v1/models/leaderboard", to.leaderboard, "Models by reward", read, query=page),
        Row("GET", f"{here}/rankings", to.rankings, "By class of turn", read, query=of_class),
        Row("GET", f"{here}/advise", to.advise, "The best by class", read, query=of_class),
        Row("GET", f"{here}/savings", to.savings, "What routing saved", read, query=period),
        Row(
            "GET",
            "/v1/routing/choices",
            to.choices,
            "Choices and what came of them",
            read,
            query=days | {"limit": f"newest wanted, at most {LISTED_MAX} (100)"},
        ),
        Row("GET", "/v1/routing/replay", to.replay, "Another policy", read, query=policy),
        Row(
            "GET",
            "/v1/routing-stream",
            to.stream,
            "Follow the choices",
            {200: "server-sent events", 400: "not a cursor", 429: "too many streams"},
            query={"after": "where no header can be sent: the last id"},
            stream=True,
        ),
        Row("GET", "/v1/discovery", to.discovery, "What there is", {200: "found"}),
        Row(
            "POST",
            "/v1/agents/{id}/dispatch-outcomes",
            to.outcome,
            "What came of an agent's latest turn",
            {**read, 404: "no such session, or no rated turn of this agent in it"},
            body=(OutcomeBody,),
            write=True,
            activity=False,
        ),
    ]
