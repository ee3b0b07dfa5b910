"""What may be spent, from everywhere it is said: the tightest of all bounds counts.

Said by the settings, by the records of kind `budget` (`global`, `agent:<name>`) that can be changed
while the daemon runs, and by the profile of a registered agent. Amounts in records are text, so
that they stay exact.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from brainpilot_rt.domain.errors import BadRequest
from brainpilot_rt.domain.governing import BudgetScope
from brainpilot_rt.domain.ids import AgentName
from brainpilot_rt.governance.budgets import tightest, usd_in
from brainpilot_rt.settings import BudgetSettings
from brainpilot_rt.supervision.records import Records

KIND: Final = "budget"
GLOBAL: Final = "global"
KILLSWITCH: Final = "killswitch"
RPM: Final = "rpm"
AMOUNTS: Final = ("daily_usd", "monthly_usd", "session_usd", "root_usd", "run_usd")
_ALIASES: Final = {
    "perDayUsd": "daily_usd",
    "perConversationUsd": "session_usd",
    "perRunUsd": "run_usd",
    "dailyUsd": "daily_usd",
    "monthlyUsd": "monthly_usd",
    "daily_limit_usd": "daily_usd",
    "monthly_limit_usd": "monthly_usd",
}
_RPM_MAX: Final = 1_000_000
_USD_MAX: Final = Decimal(1_000_000_000)

AgentCaps = Callable[[AgentName], tuple[Decimal | None, Decimal | None]]
"""What a registered agent's profile allows in a day and in a month."""


def _no_caps(_agent: AgentName) -> tuple[Decimal | None, Decimal | None]:
    return None, None


class Caps:
    """The bounds in force."""

    def __init__(
        self, settings: BudgetSettings, records: Records, agent_caps: AgentCaps = _no_caps
    ) -> None:
        self._settings = settings
        self._records = records
        self._agent_caps = agent_caps

    def of(self, scope: BudgetScope, agent: AgentName) -> Decimal | None:
        """The bound of a scope for a call of this agent; None: there is none."""
        everywhere, own, said = self._record(GLOBAL), self._record(f"agent:{agent}"), self._settings
        match scope:
            case "run":
                caps = (said.run_usd, usd_in(everywhere, "run_usd"), usd_in(own, "run_usd"))
            case "root" | "envelope":  # an envelope is part of a request
                caps = (said.root_usd, usd_in(everywhere, "root_usd"), usd_in(own, "root_usd"))
            case "session":
                caps = (
                    said.session_usd,
                    usd_in(everywhere, "session_usd"),
                    usd_in(own, "session_usd"),
                )
            case "agent_day":
                profile = self._agent_caps(agent)[0]
                caps = (said.agent_daily_usd, usd_in(own, "daily_usd"), profile)
            case "agent_month":
                profile = self._agent_caps(agent)[1]
                caps = (said.agent_monthly_usd, usd_in(own, "monthly_usd"), profile)
            case "global_day":
                caps = (said.daily_usd, usd_in(everywhere, "daily_usd"))
            case "global_month":
                caps = (said.monthly_usd, usd_in(everywhere, "monthly_usd"))
        return tightest(*caps)

    def rpm(self, agent: AgentName) -> int | None:
        """Model calls of an agent in a minute; None: no bound."""
        return self._record(f"agent:{agent}").get(RPM)

    def killed(self) -> Mapping[str, Any] | None:
        """Why nothing may be spent at all; None: it may."""
        body = self._record(KILLSWITCH)
        return body if body.get("active") else None

    def limited(self) -> set[AgentName]:
        """Agents with bounds of their own among these records."""
        return {
            AgentName(key.removeprefix("agent:"))
            for key in self._records.of(KIND)
            if key.startswith("agent:")
        }

    async def put(self, agent: AgentName | None, changes: Mapping[str, Any]) -> None:
        """Set bounds of an agent, or (None) of everything; a null takes one away.

        `BadRequest` for what is negative, no number, or no bound that is kept here.
        """
        key = GLOBAL if agent is None else f"agent:{agent}"
        body = dict(self._record(key))
        for name, value in changes.items():
            known = _ALIASES.get(name, name)
            if known == "action" and value in {None, "stop"}:
                continue
            if known not in AMOUNTS and (known != RPM or agent is None):
                kept = ", ".join((*AMOUNTS, *((RPM,) if agent else ())))
                raise BadRequest(f"{name}: no bound that is kept here; there are {kept}")
            body[known] = _checked(name, value, whole=known == RPM)
        await self._records.put(KIND, key, {k: v for k, v in body.items() if v is not None})

    async def switch(self, body: Mapping[str, Any]) -> None:
        """Stop all spending, or allow it again."""
        await self._records.put(KIND, KILLSWITCH, body)

    def _record(self, key: str) -> Mapping[str, Any]:
        return self._records.get(KIND, key) or {}


def _checked(name: str, value: object, *, whole: bool) -> str | int | None:
    if value is None:
        return None
    if whole:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _RPM_MAX:
            raise BadRequest(f"{name}: a whole number from 1, or null")
        return value
    try:
        usd = Decimal(str(value))
    except InvalidOperation:
        usd = None
    if usd is None or isinstance(value, bool) or not usd.is_finite():
        raise BadRequest(f"{name}: an amount in US dollars, or null")
    if not 0 <= usd <= _USD_MAX:
        raise BadRequest(f"{name}: a budget is not negative, and at most {_USD_MAX:,} US dollars")
    return str(usd)
