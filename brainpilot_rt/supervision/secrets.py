"""What this daemon knows to be secret, and the places where it is kept from leaving.

There is one boundary for what lasts and what is shown: the manager redacts every event before it is
decided upon any further, so the log, the state, the streams, the history, the letters and the
conversations hold the same text, and the same after a restart. Beside it pass only the words of a
model while they are said, the results of tools on their way to the model, the index of search, the
lines of the daemon's own log and the bodies of errors; each asks here.

The consequence is said in SECURITY.md: a model never sees a known secret, so it can not use one
that somebody typed or that stands in a file.
"""

import logging
import re
from collections.abc import Callable, Mapping
from typing import Final, TypeVar
from urllib.parse import unquote, urlsplit

from typing_extensions import override

from brainpilot_rt.domain.messages import AssistantMessage, ReasoningPart
from brainpilot_rt.domain.model_calls import (
    ModelEvent,
    ReasoningDelta,
    ReplyFinished,
    TextDelta,
)
from brainpilot_rt.governance.redaction import RedactedStream, Redactor
from brainpilot_rt.models.providers import Providers

_SECRET_NAME: Final = re.compile(
    r"(?:^|_)(?:(?:API|ACCESS|AUTH|PRIVATE|SECRET|ENCRYPTION|SIGNING)_?KEY|\w*TOKEN|\w*SECRET"
    r"|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?)$",
    re.IGNORECASE,
)
_T = TypeVar("_T")


class Secrets(logging.Filter):
    """Grows only: a key that was replaced stays secret. As a logging filter it redacts the line."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._known: dict[str, str] = {}
        self._redactor = Redactor()
        self.learn(_of_environment(environment or {}))

    def learn(self, values: Mapping[str, str]) -> None:
        """Further secrets: value -> what it is, in a word."""
        if values.keys() - self._known.keys():
            self._known = {**values, **self._known}
            self._redactor = Redactor(self._known)

    def learn_providers(self, providers: Providers) -> None:
        """The keys of provider profiles, and passwords in their addresses."""
        for one in providers.profiles:
            self.learn({**_password_in(one.base_url), one.api_key or "": f"key-of-{one.id}"})

    def text(self, text: str) -> str:
        """The text without secrets."""
        return self._redactor.text(text)

    def value(self, value: _T, /) -> _T:
        """The same command, event or JSON without secrets."""
        return self._redactor.value(value)

    def hearing(self) -> Callable[[ModelEvent], list[ModelEvent]]:
        """For one reply of a model: a function from what it says to what is heard of it."""
        return _Hearing(self._redactor)

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        """Redact a record in place; its text and the text of its exception."""
        record.msg, record.args = self.text(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = self.text(record.exc_text)
        return True


class _Hearing:
    """The texts of one reply, each redacted as it would be whole."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._stream = RedactedStream(redactor)
        self._last: TextDelta | ReasoningDelta | None = None

    def __call__(self, event: ModelEvent) -> list[ModelEvent]:
        if isinstance(event, TextDelta | ReasoningDelta):
            ended = self._ended() if self._other_text(event) else []
            self._last = event
            said = self._stream.feed(event.text)
            return [*ended, *([_with(event, said)] if said else [])]
        if isinstance(event, ReplyFinished):
            return [*self._ended(), self._finished(event)]
        return [self._redactor.value(event)]

    def _other_text(self, event: TextDelta | ReasoningDelta) -> bool:
        last = self._last
        return last is not None and (last.type, last.index) != (event.type, event.index)

    def _ended(self) -> list[ModelEvent]:
        rest, self._stream = self._stream.end(), RedactedStream(self._redactor)
        return [_with(self._last, rest)] if self._last is not None and rest else []

    def _finished(self, reply: ReplyFinished) -> ReplyFinished:
        message = self._redactor.value(reply.message)
        if message is reply.message:
            return reply
        # What a provider has signed is worth nothing when its text was changed.
        parts = tuple(
            new.model_copy(update={"opaque": {}})
            if isinstance(new, ReasoningPart) and new is not old
            else new
            for new, old in zip(message.parts, reply.message.parts, strict=True)
        )
        return reply.model_copy(update={"message": AssistantMessage(parts=parts)})


def _with(delta: TextDelta | ReasoningDelta, text: str) -> TextDelta | ReasoningDelta:
    return delta if delta.text == text else delta.model_copy(update={"text": text})


def _of_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Values whose names say that they are secret, and passwords inside of addresses."""
    found: dict[str, str] = {}
    for name, value in environment.items():
        found |= _password_in(value)
        if _SECRET_NAME.search(name):
            found[value] = name
    return found


def _password_in(address: str) -> dict[str, str]:
    try:
        password = urlsplit(address).password if "://" in address else None
    except ValueError:
        return {}
    return {password: "password", unquote(password): "password"} if password else {}
