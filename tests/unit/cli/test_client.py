"""What a client makes of the stream and of what a daemon leaves in its directory."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from brainpilot_rt.cli.client import (
    Client,
    Endpoint,
    Frame,
    NoDaemon,
    Refused,
    endpoint_of,
    follow,
    parse_stream,
    session_path,
)

THERE = Endpoint(url="http://127.0.0.1:1", token="t")


class Scripted(Client):
    """Streams that end or fail as the test says, and the cursors they were opened with."""

    def __init__(self, *streams: list[tuple[str | None, Frame]] | Exception) -> None:
        super().__init__(lambda: THERE)
        self._streams = list(streams)
        self.cursors: list[str | None] = []

    @override
    def stream(self, path: str, cursor: str | None) -> Generator[tuple[str | None, Frame]]:
        self.cursors.append(cursor)
        stream = self._streams.pop(0)
        if isinstance(stream, Exception):
            raise stream
        yield from stream


def frame(identity: str, **more: Any) -> Frame:
    return {"type": "CUSTOM", "_event_id": identity} | more


def test_frames_are_read_whatever_the_line_ends_and_comments_between() -> None:
    lines = [
        b": ping\n",
        b"\n",
        b"id: e.1\r\n",
        b'data: {"type":"A"}\r\n',
        b"\r\n",
        b'data: {"type":\n',
        b'data: "B"}\n',
        b"\n",
        b'data: {"type":"cut',
    ]
    assert list(parse_stream(iter(lines))) == [("e.1", {"type": "A"}), (None, {"type": "B"})]


def test_a_cut_stream_goes_on_at_its_last_cursor_and_says_nothing_twice() -> None:
    client = Scripted(
        [(None, frame("state:s:0")), ("e.1", frame("s:1")), ("e.2", frame("s:2"))],
        ConnectionResetError("cut"),
        [(None, frame("state:s:2")), ("e.2", frame("s:2")), ("e.3", frame("s:3"))],
    )
    got: list[str] = []
    pauses: list[float] = []
    for _, one in follow(client, "/sse/s", pause=pauses.append):
        got.append(one["_event_id"])
        if one["_event_id"] == "s:3":
            break
    assert got == ["state:s:0", "s:1", "s:2", "state:s:2", "s:3"]
    assert client.cursors == [None, "e.2", "e.2"]
    assert pauses == [0.1, 0.2]


def test_a_daemon_that_stays_away_is_given_up_with_the_reason() -> None:
    client = Scripted(*[NoDaemon("refused") for _ in range(50)])
    pauses: list[float] = []
    with pytest.raises(NoDaemon, match="did not come back: refused"):
        list(follow(client, "/sse/s", pause=pauses.append, patience_s=5.0))
    assert sum(pauses) >= 5.0


def test_an_unknown_session_is_not_tried_again() -> None:
    client = Scripted(Refused(404, "not_found", "no session s"))
    with pytest.raises(Refused, match="no session s"):
        list(follow(client, "/sse/s"))


def test_a_busy_daemon_is_tried_again() -> None:
    client = Scripted(Refused(503, "busy", "too many streams"), [("e.1", frame("s:1"))])
    stream = follow(client, "/sse/s", pause=lambda _: None)
    assert next(stream)[0] == "e.1"


def test_a_missing_record_says_how_to_start_a_daemon(tmp_path: Path) -> None:
    with pytest.raises(NoDaemon, match="brainpilot-rt serve"):
        endpoint_of(tmp_path)


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"url": 1}', "\x00"])
def test_a_broken_record_is_a_clear_error(tmp_path: Path, record: str) -> None:
    (tmp_path / "daemon.json").write_text(record)
    with pytest.raises(NoDaemon, match="cannot read what the daemon left"):
        endpoint_of(tmp_path)


def test_the_record_of_a_daemon_names_its_address_and_token(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    record = {
        "url": "http://127.0.0.1:8081/",
        "pid": 7,
        "token_file": str(token),
        "mailbox_dir": str(tmp_path / "mail"),
        "instance_id": "one",
    }
    (tmp_path / "daemon.json").write_text(json.dumps(record))
    there = endpoint_of(tmp_path)
    assert there.capability_url == "http://127.0.0.1:8081/c/secret/"
    assert (there.pid, there.instance_id) == (7, "one")


def test_ids_are_escaped_in_paths() -> None:
    assert session_path("../x y", "/state", after="a&b") == "/sessions/..%2Fx%20y/state?after=a%26b"
