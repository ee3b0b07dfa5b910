"""What is said of an answer beside it: BrainstormRouter's headers, and models as clients list them.

Pure. What is not known is left out; nothing is made up.
"""

from decimal import ROUND_CEILING, Decimal, InvalidOperation

from brainpilot_rt.domain.errors import BadRequest
from brainpilot_rt.server.wires.openai import Json
from brainpilot_rt.supervision.completions import Known


def headers_of(known: Known) -> dict[str, str]:
    """What is known of an answer as BrainstormRouter's headers; what is not known is left out."""
    headers: dict[str, str] = {}
    if (selected := known.selected) is not None:
        headers |= {
            "x-br-model": selected.model.model,
            "x-br-provider": selected.model.provider,
            "x-br-route-reason": selected.reason,
        }
    if known.estimate_usd is not None:
        cents = (known.estimate_usd * 100).to_integral_value(ROUND_CEILING)
        headers |= {
            "x-br-estimated-cost": _dollars(known.estimate_usd),
            "x-br-estimated-cost-cents": str(int(cents)),
        }
    if known.settled is not None and known.settled.cost_usd is not None:
        headers["x-br-actual-cost"] = _dollars(known.settled.cost_usd)
    if known.rated is not None and known.rated.savings_usd is not None:
        headers["x-br-savings"] = _dollars(known.rated.savings_usd)
        headers["x-br-routing-savings"] = _dollars(known.rated.savings_usd)
    if known.selected is not None:
        headers["x-br-guardian-status"] = "warn" if known.fired else "pass"
    if known.fired:
        headers["x-br-guardrail-warning"] = "; ".join(
            f"{one.guardrail}: {one.reason}" for one in known.fired[:5]
        )
    return headers


def _dollars(amount: Decimal) -> str:
    return f"{amount.normalize():f}"


def one_line(text: str) -> bytes:
    """A header's value: one line of ASCII, bounded."""
    return " ".join(text.split())[:500].encode("ascii", "replace")


def money_of(text: str | None) -> Decimal | None:
    """US dollars of a header, which may carry a sign of them."""
    if text is None:
        return None
    try:
        amount = Decimal(text.strip().lstrip("$"))
    except InvalidOperation:
        raise BadRequest(f"{text[:40]!r} is not an amount of US dollars") from None
    if not amount.is_finite() or amount < 0:
        raise BadRequest(f"{text[:40]!r} is not an amount of US dollars")
    return amount


def model_json(name: str, owner: str, about: str) -> Json:
    """One model for the clients of OpenAI, Anthropic and BrainstormRouter alike."""
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": owner,
        "type": "model",
        "display_name": name,
        "created_at": "1970-01-01T00:00:00Z",
        "description": about,
    }
