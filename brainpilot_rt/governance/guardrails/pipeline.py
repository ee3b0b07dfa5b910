"""The verdict on a text: every check looks at it as it came, then it is decided what happens.

Findings under the threshold are ignored. The first block, in the order of the text, stops: what
was found after it does not count. Redaction writes `[REDACTED:<label>]` over what was found; where
two overlap, the check that stands first in the configuration names it. Pure.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from brainpilot_rt.domain.governing import GuardAction, GuardStage
from brainpilot_rt.governance.guardrails import credentials, injection, pii
from brainpilot_rt.governance.guardrails.config import GuardrailConfig, action_of
from brainpilot_rt.governance.guardrails.hits import Check, Hit, merged
from brainpilot_rt.governance.guardrails.topics import topic_check

UNAVAILABLE: Final = "unavailable"
"""Label of the finding that an external provider gave no verdict."""

_STRONGEST: Final[tuple[GuardAction, ...]] = ("block", "redact", "warn", "log")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found of one kind. The reason never holds what was found."""

    guardrail: str
    confidence: float
    reason: str
    spans: tuple[tuple[int, int], ...] = ()
    """In the text as it came; none where an external provider judged the whole of it."""
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a text came to."""

    action: GuardAction | None = None
    """None: nothing was found."""
    text: str
    """What may go on."""
    findings: tuple[Finding, ...] = ()
    deciding: Finding | None = None
    """The first of those with the strongest action."""

    @property
    def guardrail(self) -> str:
        """The deciding check."""
        return self.deciding.guardrail if self.deciding else ""

    @property
    def confidence(self) -> float:
        """Of the deciding finding."""
        return self.deciding.confidence if self.deciding else 0.0

    @property
    def reason(self) -> str:
        """Of the deciding finding."""
        return self.deciding.reason if self.deciding else ""


@dataclass(frozen=True, slots=True)
class Active:
    """A check that looks at this stage, and what follows from it."""

    check: Check
    action: GuardAction
    rank: int


Placed: TypeAlias = tuple[Active, Hit]


def active(config: GuardrailConfig, stage: GuardStage) -> tuple[Active, ...]:
    """The built-in checks that look at a stage."""
    found: list[Active] = []
    for rank, one in enumerate(config.checks):
        action, check = action_of(config, one.id, stage), _built_in(one.id, config)
        if action and check:
            found.append(Active(check, action, rank))
    return tuple(found)


def judge(
    text: str, stage: GuardStage, config: GuardrailConfig, external: Sequence[Finding] = ()
) -> Verdict:
    """What becomes of a text at a stage; `external`: what the providers asked about it found."""
    if not config.enabled:
        return Verdict(text=text)
    own = [
        (one, hit)
        for one in active(config, stage)
        for hit in one.check.find(text)
        if hit.confidence >= config.confidence_threshold
    ]
    stop = first_block(own)
    if stop:
        own = [*until(stop, own), stop]
    decided = [*_grouped(own), *_external(external, stage, config)]
    strongest, deciding = min(
        decided, key=lambda each: _STRONGEST.index(each[0]), default=(None, None)
    )
    if strongest == "block" and deciding:
        before = written(text, own, 0, stop[1].start) if stop and stage == "output" else ""
        shown = before + notice(deciding.guardrail, deciding.reason)
    else:
        shown = written(text, own, 0, len(text))
    findings = tuple(found for _, found in decided)
    return Verdict(action=strongest, text=shown, findings=findings, deciding=deciding)


def notice(guardrail: str, reason: str) -> str:
    """What stands where a text was stopped."""
    return f"[Stopped by the guardrail {guardrail}: {reason}]"


def first_block(hits: Iterable[Placed]) -> Placed | None:
    """The first hit that stops the text."""
    against = (each for each in hits if each[0].action == "block")
    return min(against, key=lambda each: (each[1].start, each[0].rank), default=None)


def until(stop: Placed, hits: Iterable[Placed]) -> list[Placed]:
    """The hits that begin before it."""
    return [each for each in hits if each[1].start < stop[1].start]


def written(text: str, hits: Iterable[Placed], start: int, end: int) -> str:
    """A part of a text with what has to be written over."""
    parts: list[str] = []
    for hit in merged((one.rank, hit) for one, hit in hits if one.action == "redact"):
        if hit.start >= end:
            break
        parts += [text[start : hit.start], f"[REDACTED:{hit.label}]"]
        start = min(hit.end, end)
    return "".join([*parts, text[start:end]])


def _built_in(check_id: str, config: GuardrailConfig) -> Check | None:
    if check_id == "topic-restriction":
        topics = config.topics
        return topic_check(topics.deny, topics.allow) if topics.deny else None
    return next((one for one in _CHECKS if one.id == check_id), None)


def _grouped(hits: Iterable[Placed]) -> list[tuple[GuardAction, Finding]]:
    """One finding for each kind, in the order of the text."""
    groups: dict[tuple[str, str], list[Placed]] = {}
    for one, hit in sorted(hits, key=lambda each: (each[1].start, each[0].rank)):
        groups.setdefault((one.check.id, hit.label), []).append((one, hit))
    found: list[tuple[GuardAction, Finding]] = []
    for (guardrail, label), group in groups.items():
        surest = max((hit for _, hit in group), key=lambda hit: hit.confidence)
        finding = Finding(
            guardrail=guardrail,
            confidence=surest.confidence,
            reason=surest.reason,
            spans=tuple((one.start, one.end) for one in merged((0, hit) for _, hit in group)),
            label=label,
        )
        found.append((group[0][0].action, finding))
    return found


def _external(
    findings: Iterable[Finding], stage: GuardStage, config: GuardrailConfig
) -> Iterable[tuple[GuardAction, Finding]]:
    for one in findings:
        action = action_of(config, one.guardrail, stage)
        if action and one.label == UNAVAILABLE:
            yield ("block" if config.fail == "closed" else "warn"), one
        elif action and one.confidence >= config.confidence_threshold:
            # It judged the whole: there is no place to write over.
            yield ("block" if action == "redact" else action), one


_CHECKS: Final = (injection.CHECK, credentials.CHECK, pii.CHECK)
