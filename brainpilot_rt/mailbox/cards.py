"""`agent.json`: what stands in an agent's mailbox directory to say who reads it."""

from typing import Final

from pydantic import ValidationError

from brainpilot_rt.aiokit.files import DirHandle, replace_atomic
from brainpilot_rt.domain.letters import AgentCard
from brainpilot_rt.mailbox.codec import BadLetter, Reason, parse_object
from brainpilot_rt.mailbox.untrusted import read_untrusted

CARD: Final = "agent.json"

_BYTES_MAX: Final = 64 * 1024


def read_card(home: DirHandle) -> AgentCard:
    """Read `agent.json`; `BadLetter` when it is no card, FileNotFoundError when there is none."""
    data = read_untrusted(home, CARD, _BYTES_MAX)
    parse_object(data)
    try:
        return AgentCard.model_validate_json(data, strict=True)
    except ValidationError as error:
        raise BadLetter(Reason.INVALID_FIELD, str(error.errors()[0]["msg"])) from None


def write_card(home: DirHandle, card: AgentCard) -> None:
    """See that `agent.json` says this card, also after a power failure: mail hangs on it."""
    try:
        known = read_card(home)
    except (BadLetter, FileNotFoundError):
        known = None
    if known != card:
        replace_atomic(home, CARD, card.model_dump_json().encode() + b"\n")
