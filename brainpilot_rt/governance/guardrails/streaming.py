"""The verdict on a text while it streams: nothing leaves before it was judged.

The end of the text waits as long as what follows could make a hit of it. Of ordinary prose that is
its last word or number, and never more than `REACH` characters; only a secret in a format of its
own, such as a private key, waits for its end. What has left, put together, is the text of the
verdict on the whole. Pure.
"""

from collections.abc import Sequence
from typing import Final

from brainpilot_rt.domain.governing import GuardStage
from brainpilot_rt.governance.guardrails.config import GuardrailConfig
from brainpilot_rt.governance.guardrails.hits import LOOK_BACK, REACH, merged
from brainpilot_rt.governance.guardrails.pipeline import (
    Finding,
    Placed,
    Verdict,
    active,
    first_block,
    judge,
    notice,
    until,
    written,
)

_AT_ONCE: Final = 2 * REACH
_SHARE: Final = 8
"""When more than `_AT_ONCE` is held, so much of it has to come before it is looked at again: a long
secret in small pieces would otherwise cost the square of its length."""


class Window:
    """One text on its way out."""

    def __init__(self, config: GuardrailConfig, stage: GuardStage = "output") -> None:
        self._config = config
        self._stage: GuardStage = stage
        # What only warns changes nothing, so nothing waits for it: `verdict` says it.
        self._acting = [one for one in active(config, stage) if one.action in {"block", "redact"}]
        self._whole: list[str] = []
        self._seen = ""
        """The end of what has left: it has a say in what follows."""
        self._held: list[str] = []
        self._held_chars = 0
        self._fresh_chars = 0
        self.stopped = False
        """A block has ended the text; nothing more is taken or given."""

    def feed(self, delta: str) -> str:
        """What may be shown now; at times nothing."""
        if self.stopped:
            return ""
        self._whole.append(delta)
        if not self._acting:
            return delta
        self._held.append(delta)
        self._held_chars += len(delta)
        self._fresh_chars += len(delta)
        if self._held_chars > _AT_ONCE and self._fresh_chars * _SHARE < self._held_chars:
            return ""
        return self._leave(ended=False)

    def finish(self) -> str:
        """What was held back."""
        return "" if self.stopped else self._leave(ended=True)

    def verdict(self, external: Sequence[Finding] = ()) -> Verdict:
        """On the whole, as it was fed until now."""
        return judge("".join(self._whole), self._stage, self._config, external)

    def _leave(self, *, ended: bool) -> str:
        text, start = self._seen + "".join(self._held), len(self._seen)
        hits = [
            (one, hit)
            for one in self._acting
            for hit in one.check.find(text)
            if hit.start >= start and hit.confidence >= self._config.confidence_threshold
        ]
        cut = len(text) if ended else self._settled(text, start, hits)
        stop = first_block(hits)
        if stop and stop[1].start < cut:
            self.stopped = True
            shown = written(text, until(stop, hits), start, stop[1].start)
            return shown + notice(stop[0].check.id, stop[1].reason)
        shown = written(text, hits, start, cut)
        self._seen, self._held = text[max(0, cut - LOOK_BACK) : cut], [text[cut:]]
        self._held_chars, self._fresh_chars = len(text) - cut, 0
        return shown

    def _settled(self, text: str, start: int, hits: list[Placed]) -> int:
        """Up to where nothing that follows can change what was found."""
        cut = max(start, min(one.check.open_from(text) for one in self._acting))
        for hit in reversed(merged((one.rank, hit) for one, hit in hits)):
            if hit.end > cut:
                cut = min(cut, hit.start)
        return cut
