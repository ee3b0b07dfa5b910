"""External guardrail providers: where they are, and what their answers mean. Pure.

A provider is asked with `{"text": ..., "stage": ...}`. Its answer is JSON; the mapping says where
in it the verdict stands, as `$.a.b[0].c`; a `!` before the path turns its truth around.
"""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, cast
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from brainpilot_rt.domain.errors import BadRequest
from brainpilot_rt.domain.values import Value, checked
from brainpilot_rt.governance.guardrails.pipeline import UNAVAILABLE, Finding

_PATH: Final = r"!?\$(?:\.[A-Za-z_][\w-]{0,60}|\[[0-9]{1,4}\])*"
_STEP: Final = re.compile(r"\.([A-Za-z_][\w-]*)|\[([0-9]+)\]")
_REASON_CHARS: Final = 200
_KEY: Final = re.compile(r"[!-~]{1,4096}")
_WORDS: Final = {
    **dict.fromkeys(("true", "safe", "pass", "passed", "allow", "allowed", "ok"), True),
    **dict.fromkeys(("false", "unsafe", "fail", "failed", "block", "blocked", "deny"), False),
}

_Path = Annotated[str, Field(pattern=rf"^{_PATH}$", max_length=300)]


class ResultMapping(Value):
    """Where in an answer the verdict stands."""

    safe: _Path = "$.safe"
    """A truth value, or a word such as `safe` or `block`."""
    confidence: _Path = "$.confidence"
    """From 0 to 1; an answer without it is sure."""
    reason: _Path = "$.reason"


_TEMPLATES: Final[Mapping[str, tuple[str, ResultMapping]]] = {
    "generic": ("Says `safe`, and how sure it is.", ResultMapping()),
    "flagged": (
        "Says `flagged` of what is not safe, with a score and a category.",
        ResultMapping(safe="!$.flagged", confidence="$.score", reason="$.category"),
    ),
    "results": (
        "A list of results, the first of which says `flagged`.",
        ResultMapping(
            safe="!$.results[0].flagged",
            confidence="$.results[0].score",
            reason="$.results[0].category",
        ),
    ),
    "decision": (
        "A decision in a word: `allow` or `block`.",
        ResultMapping(safe="$.decision", confidence="$.confidence", reason="$.message"),
    ),
}


class ExternalProvider(Value):
    """A provider as it is kept. Its key is not here: a record holds no secrets."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,60}$")]
    name: Annotated[str, Field(max_length=200)] = ""
    endpoint: Annotated[str, Field(max_length=2000)]
    template: str = "generic"
    result_mapping: ResultMapping = ResultMapping()

    @field_validator("endpoint")
    @classmethod
    def _is_http(cls, endpoint: str) -> str:
        parts = urlsplit(endpoint)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
            raise ValueError("not an address that begins with http:// or https://")
        if parts.username is not None or parts.password is not None:
            raise ValueError("credentials belong into api_key")
        return endpoint


def describe_templates() -> list[dict[str, Any]]:
    """The kinds of answers that need no mapping of one's own."""
    return [
        {"id": name, "description": said, "result_mapping": mapping.model_dump()}
        for name, (said, mapping) in _TEMPLATES.items()
    ]


def parse_provider(body: Mapping[str, Any]) -> tuple[ExternalProvider, str | None]:
    """A provider and its key, as registered. Raises `BadRequest`; unknown fields are ignored."""
    template = body.get("template") or "generic"
    if not isinstance(template, str) or template not in _TEMPLATES:
        raise BadRequest(f"template: one of {', '.join(_TEMPLATES)}")
    said = body.get("result_mapping")
    mapping = _TEMPLATES[template][1].model_dump()
    known = {name: body[name] for name in ExternalProvider.model_fields if name in body}
    key = body.get("api_key")
    if key is not None and not (isinstance(key, str) and _KEY.fullmatch(key)):
        raise BadRequest("api_key: visible ASCII characters only")
    if said is not None and not isinstance(said, dict):
        raise BadRequest("result_mapping: an object with safe, confidence and reason")
    known |= {"template": template, "result_mapping": mapping | cast("dict[str, Any]", said or {})}
    return checked(ExternalProvider, known, "bad_request"), key


def provider_json(provider: ExternalProvider) -> dict[str, Any]:
    """As it is listed and recorded."""
    return provider.model_dump(mode="json")


def unavailable(provider_id: str, why: str) -> Finding:
    """That a provider gave no verdict; whether this blocks is the owner's choice."""
    return Finding(guardrail=provider_id, confidence=1.0, reason=why, label=UNAVAILABLE)


def meaning(provider: ExternalProvider, body: bytes) -> Finding | None:
    """What an answer says about the text; None: nothing against it."""
    try:
        answer: object = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return unavailable(provider.id, "the answer is not JSON")
    mapping = provider.result_mapping
    safe = _truth(_at(answer, mapping.safe))
    confidence = _at(answer, mapping.confidence)
    if safe is None:
        return unavailable(provider.id, f"the answer has no truth value at {mapping.safe}")
    if safe is not mapping.safe.startswith("!"):
        return None
    sure = 1.0 if confidence is None else confidence
    if isinstance(sure, bool) or not isinstance(sure, int | float) or not 0 <= sure <= 1:
        return unavailable(provider.id, f"no number from 0 to 1 at {mapping.confidence}")
    said = _at(answer, mapping.reason)
    reason = " ".join(said.split())[:_REASON_CHARS] if isinstance(said, str) else ""
    return Finding(
        guardrail=provider.id,
        confidence=float(sure),
        reason=reason or f"{provider.name or provider.id} calls it unsafe",
        label="external",
    )


def _at(answer: object, path: str) -> object:
    """What stands at a path; None: nothing."""
    for name, place in _STEP.findall(path):
        if name and isinstance(answer, dict):
            answer = cast("dict[str, object]", answer).get(name)
        elif place and isinstance(answer, list):
            items = cast("list[object]", answer)
            answer = items[int(place)] if int(place) < len(items) else None
        else:
            return None
    return answer


def _truth(value: object) -> bool | None:
    if isinstance(value, bool):
        return value
    return _WORDS.get(value.strip().lower()) if isinstance(value, str) else None


def _no_number(said: str) -> float:
    raise ValueError(f"{said} is not JSON")
