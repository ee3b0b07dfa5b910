"""What is looked at in words of a user before they are accepted."""

from typing import Final

from brainpilot_rt.domain.errors import BadRequest
from brainpilot_rt.domain.letters import CONTENT_CHARS_MAX

TITLE_CHARS_MAX: Final = 200
DEFAULT_TITLE: Final = "New session"


def title_of(title: str | None) -> str:
    """A session's title: cut to its length, never empty."""
    return (title or "").strip()[:TITLE_CHARS_MAX] or DEFAULT_TITLE


def check_content(content: str) -> None:
    """`BadRequest` for a message that is empty or too long."""
    if not content.strip():
        raise BadRequest("a message needs content")
    if len(content) > CONTENT_CHARS_MAX:
        raise BadRequest(f"a message has at most {CONTENT_CHARS_MAX:,} characters")
