"""What is promised in public: the invariants, and the guarantee at each boundary."""

from collections.abc import Mapping
from typing import Final

INVARIANTS: Final[Mapping[str, str]] = {
    "I-1": "An accepted message is never lost.",
    "I-2": "Delivered at least once, acted on exactly once in our state.",
    "I-3": "A message counts as read only when the turn that read it is committed.",
    "I-4": "Order: per sender to recipient FIFO. No order across senders.",
    "I-5": "Nothing is skipped silently.",
    "I-6": "Tool effects: never repeated automatically unless declared safe to repeat.",
    "I-7": (
        "A cancelled or superseded worker can not change our state or start a new effect later."
    ),
    "I-8": (
        "One log: gap-free, strictly increasing `seq`, continuing across restarts; no "
        "event is visible before it is durable, none disappears after it was visible."
    ),
    "I-9": "Backpressure is explicit.",
    "I-10": "A slow reader only hurts itself.",
    "I-11": "No runaway.",
    "I-12": "Every accepted unit of work reaches exactly one terminal record.",
    "I-13": "State authority.",
    "I-14": "Known secrets never reach log, event, transcript or metrics.",
    "I-15": "Recovery is automatic, idempotent and bounded.",
    "I-16": "Liveness.",
    "I-17": "The reaper can trust us.",
    "I-18": "Storage trouble is honest.",
    "I-19": "One daemon per data dir.",
    "I-20": "Only the owner can command it.",
    "I-21": "No sandboxed tool can write what governs it.",
}

GUARANTEES: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "HTTP command with `Idempotency-Key`",
        "applied once; repeat returns the first answer; same key + other body to 409",
        "send a key",
    ),
    ("mailbox file to inbox", "at-least-once read, exactly-once record", "unique id"),
    ("inbox to model turn", "at-least-once call, exactly-once committed", "accept repeated cost"),
    ("tool, pure / idempotent", "at-least-once", "pass our key through"),
    ("tool, other", "at-most-once automatic; may be `unknown`", "reconcile"),
    ("event to SSE client", "at-least-once, ordered, dedupe by `id`", "apply idempotently"),
    ("metrics, token deltas", "best effort", "not rely on them"),
)
