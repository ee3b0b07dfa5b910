"""What strangers may write, and the functions that read it first: targets of the fuzzer.

A target takes bytes and returns nothing. Whatever it lets out is a finding: an error of another
type than its own, or a property that does not hold. It says nothing about time; its runner does.
"""

import contextlib
import random
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from brainpilot_rt.domain.errors import BadRequest, FatalFault, TooLarge
from brainpilot_rt.domain.ids import DAEMON_STREAM, parse_agent_name, parse_session_id
from brainpilot_rt.governance.redaction import RedactedStream, Redactor
from brainpilot_rt.mailbox import codec
from brainpilot_rt.models.sse import SseEvent, SseParser
from brainpilot_rt.server.bodies import parse, parse_object
from brainpilot_rt.server.config import hosts_of
from brainpilot_rt.server.cursors import (
    all_key,
    parse_all_cursor,
    parse_session_cursor,
    session_key,
)
from brainpilot_rt.server.routes.conversation import AnswerBody, InterruptBody, MessageBody
from brainpilot_rt.server.routes.files import UploadBody, byte_range
from brainpilot_rt.server.routes.service import CapabilitiesBody, ShutdownBody
from brainpilot_rt.server.routes.sessions import CreateSessionBody, UpdateSessionBody
from brainpilot_rt.server.security import Refusal, Rules, judge, split_capability
from brainpilot_rt.settings import BadSettings, load
from brainpilot_rt.workspace import paths, patterns

CORPUS: Final = Path(__file__).parent / "corpus"
SECRET: Final = "swordfish-0123456789"  # noqa: S105 - a canary
TOKEN: Final = "only-the-owner-has-this"  # noqa: S105 - a canary
BODIES: Final = (
    *(AnswerBody, InterruptBody, MessageBody, UploadBody),
    *(CapabilitiesBody, ShutdownBody, CreateSessionBody, UpdateSessionBody),
)


def letter(data: bytes) -> None:
    """A letter file: a letter, or `BadLetter`; what is taken can be written and read again."""
    try:
        read = codec.decode(data)
    except codec.BadLetter:
        read = None
    try:
        codec.decode_foreign(data)
    except codec.BadLetter:
        assert read is None
    if read is not None:
        assert codec.decode(codec.encode(read)) == read


def provider_stream(data: bytes) -> None:
    """A provider's stream: the same events however it is cut, and those of a plain reading."""
    dice = random.Random(data[:4])
    body = data[4:]
    parser = SseParser(bytes_max=4096)
    events: list[SseEvent] = []
    try:
        rest = body
        while rest:
            size = dice.randrange(1, 40)
            events += parser.feed(rest[:size])
            rest = rest[size:]
    except FatalFault:
        return
    assert events == plain_events(body)


def plain_events(body: bytes) -> list[SseEvent]:
    """The event stream format read in one piece, by the letter of its description."""
    lines = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")[:-1]
    if lines and lines[0].startswith(b"\xef\xbb\xbf"):
        lines[0] = lines[0][3:]
    events: list[SseEvent] = []
    name, data = "", list[str]()
    for line in lines:
        if not line:
            if data:
                events.append(SseEvent(name or "message", "\n".join(data)))
            name, data = "", []
            continue
        field, colon, value = line.partition(b":")
        if colon and value.startswith(b" "):
            value = value[1:]
        text = value.decode("utf-8", errors="replace")
        if field == b"data":
            data.append(text)
        elif field == b"event":
            name = text
    return events


def cursor(data: bytes) -> None:
    """A cursor or `Last-Event-ID`: a place, or `BadRequest`; a place is written as it was read."""
    text = data.decode("latin-1")
    try:
        one = parse_session_cursor(text)
        written = session_key(one.epoch or "epoch", one.place, one.part, one.sent)
        again = parse_session_cursor(written)
        assert (again.place, again.part) == (one.place, one.part)
        assert again.sent == (one.sent if any(one.sent) else ())
    except BadRequest:
        pass
    try:
        one = parse_all_cursor(text)
        again = parse_all_cursor(all_key(one.epoch or "epoch", one.place, one.part))
        assert (again.place, again.part) == (one.place, one.part)
    except BadRequest:
        pass
    part = byte_range(text, 1000)
    assert part is None or 0 <= part[0] < part[1] <= 1000


def path(data: bytes) -> None:
    """A path of a model or client: components that stay where they are, or `BadRequest`."""
    text = data.decode("utf-8", errors="surrogateescape")
    try:
        found = paths.parse(text)
    except BadRequest:
        return
    for part in found.parts:
        assert part not in {"", ".", ".."}
        assert "/" not in part
        assert "\0" not in part
    assert paths.parse(str(found)) == found


def pattern(data: bytes) -> None:
    """A glob pattern of a model and a path it is tried on."""
    text, _, tried = data.decode("utf-8", errors="replace").partition("\n")
    try:
        matches = patterns.name_matcher(text)
    except BadRequest:
        return
    matches(tried.split("/"))


def names(data: bytes) -> None:
    """Names of sessions and agents: never a path, never the daemon's own stream."""
    text = data.decode("utf-8", errors="surrogateescape")
    for read in (parse_session_id, parse_agent_name):
        try:
            name = read(text)
        except BadRequest:
            continue
        assert name.isascii()
        assert name.replace("-", "").isalnum()
        assert name != DAEMON_STREAM


_REDACTOR: Final = Redactor({SECRET: "canary"})


def redactor(data: bytes) -> None:
    """A text with secrets: none is left, lines stay, and in pieces it is the same as in one."""
    dice = random.Random(data[:4])
    text = data[4:].decode("utf-8", errors="replace").replace("\x01", SECRET)
    whole = _REDACTOR.text(text)
    assert SECRET not in whole
    assert whole.count("\n") == text.count("\n")
    stream = RedactedStream(_REDACTOR)
    said, rest = "", text
    while rest:
        size = dice.randrange(1, 60)
        said += stream.feed(rest[:size])
        rest = rest[size:]
    assert said + stream.end() == whole


def body(data: bytes) -> None:
    """A request body, as JSON and as each of the bodies there are."""
    try:
        values: dict[str, Any] = parse_object(data)
    except (BadRequest, TooLarge):
        return
    for model in BODIES:
        try:
            parse(model, values)
        except BadRequest:
            continue


_RULES: Final = Rules(
    hosts=hosts_of(8081),
    token=lambda: TOKEN,
    bytes_max=1024,
    open_paths=re.compile("/health"),
    stream_paths=re.compile("/events"),
    clients=dict,
    monotonic=float,
)


def request(data: bytes) -> None:
    """The head of a request, in lines: without the token nothing but the open path is served."""
    target, *lines = data.split(b"\n")
    raw, _, query = target.partition(b"?")
    headers = [
        (name.strip().lower(), value.strip())
        for name, _, value in (line.partition(b":") for line in lines)
    ]
    token, asked = split_capability(raw.decode("utf-8", errors="replace"))
    scope = {
        "method": "GET",
        "path": asked,
        "raw_path": raw,
        "query_string": query,
        "headers": headers,
        "brainpilot_rt.capability": token,
    }
    verdict = judge(scope, _RULES)
    if isinstance(verdict, Refusal):
        return
    assert sum(name == b"host" for name, _ in headers) == 1
    given = TOKEN.encode()
    assert asked == "/health" or given in data or (b"%" in query and asked == "/events")


_HOME: Final = tempfile.TemporaryDirectory(prefix="fuzz-")


def config(data: bytes) -> None:
    """`config.toml`: settings, or `BadSettings`."""
    home = Path(_HOME.name)
    (home / "config.toml").write_bytes(data)
    with contextlib.suppress(BadSettings):
        load({}, data_dir=home)


TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    one.__name__: one
    for one in (
        *(letter, provider_stream, cursor, path, pattern, names),
        *(redactor, body, request, config),
    )
}


def seeds(name: str) -> list[bytes]:
    """The corpus of a target."""
    return [file.read_bytes() for file in sorted((CORPUS / name).iterdir())]
