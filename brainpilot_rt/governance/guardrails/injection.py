"""Instructions in a text that are meant for the model which reads it. Heuristics, English, Chinese.

A text that talks *about* such instructions (`phrases like ...`, `never ...`) lowers the confidence.
Somebody who knows the rules writes around them: a finding is a reason to look, its absence says
nothing. Pure.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from typing import Final

from brainpilot_rt.governance.guardrails.hits import REACH, Check, Hints, Hit, lowered
from brainpilot_rt.governance.guardrails.phrases import ABOUT, CHINESE, ENGLISH, NOT, Rule

_BY_WORD: Final = defaultdict[str, list[Rule]](list)
for _rule in (*ENGLISH, *CHINESE):
    for _word in _rule.words.split(";"):
        _BY_WORD[_word].append(_rule)
_HINTS: Final = Hints(_BY_WORD, whole=True)
_BEFORE: Final = 80
_TAGS: Final = re.compile("[\U000e0020-\U000e007e]{4,255}")
_TAG_CHARS: Final = "".join(map(chr, range(0xE0020, 0xE007F)))


def confidence(text: str) -> float:
    """How much a text reads like instructions to a model, 0 to 1."""
    return max((hit.confidence for hit in find(text)), default=0.0)


def find(text: str) -> Iterator[Hit]:
    """Instructions to a model in a text."""
    lower = lowered(text)
    for at, word in _HINTS.places(lower):
        for rule in _BY_WORD[word]:
            found = _compiled(rule.rest).match(lower, at + len(word), at + REACH)
            if found and (sure := _sure(rule, lower, at)):
                reason = f"reads like instructions to a model ({rule.label})"
                yield Hit(at, found.end(), rule.label, sure, reason)
    if not text.isascii():
        for found in _TAGS.finditer(text):
            yield Hit(found.start(), found.end(), "hidden", 0.9, "text in invisible characters")


def open_from(text: str) -> int:
    """Where instructions may have been cut: with the first word of a rule that is not far away."""
    lower = lowered(text)
    near = [at for at, _ in _HINTS.places(lower, max(0, len(text) - REACH))]
    return min([_HINTS.begun(lower), len(text.rstrip(_TAG_CHARS)), *near])


def _sure(rule: Rule, lower: str, at: int) -> float:
    before = lower[max(0, at - _BEFORE) : at]
    if rule.before and not _compiled(rule.before).search(before):
        return 0.0
    sure = rule.confidence
    if rule.label != "secrecy" and _compiled(NOT).search(before):
        sure *= 0.6
    if _compiled(ABOUT).search(before):
        sure *= 0.7
    return round(sure, 2)


@cache
def _compiled(expression: str) -> re.Pattern[str]:
    """When it is first needed: most of a start needs none."""
    return re.compile(expression)


CHECK: Final = Check("builtin", find, open_from)
