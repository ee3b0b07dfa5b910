"""Talking to a running daemon: finding it, asking it, following its stream. Standard library only.

A daemon that is ready leaves `daemon.json` in its data directory: its address, its process and the
file its token is in. A client reads both files again on every connection, so that it survives a
restart on another port and a rotated token. `--url` (with `BP_TOKEN`) names a daemon anywhere; its
path may be the capability path `/c/<token>`, which needs no header.

The stream is followed exactly as the wire promises: a connection that ends or stays silent for
longer than three heartbeats is opened again with the last cursor, and a frame whose `_event_id` was
seen is not given twice. That limit is on the connection: no turn is ended by a clock.
"""

import http.client
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import quote, urlencode, urlsplit

import click

from brainpilot_rt.aiokit.pids import is_same

REQUEST_TIMEOUT_S: Final = 60.0
STREAM_SILENCE_S: Final = 45.0
"""Three times the server's comment heartbeat: beyond it the connection is dead, not the turn."""
RECONNECT_FOR_S: Final = 60.0
"""How long a follower looks for a daemon that has gone before it gives up."""
SEEN_MAX: Final = 50_000
"""Frame ids remembered for de-duplication."""

STALE: Final = "no daemon is running (what one left behind is out of date)"

Frame = dict[str, Any]


class NoDaemon(click.ClickException):
    """Nothing listens where a daemon should; exit code 1."""


class Refused(click.ClickException):
    """The daemon answered with an error; `status` and `code` are its own."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a daemon answers. The process facts are None for a daemon named by `--url`."""

    url: str
    """Base without a trailing slash."""
    token: str | None
    pid: int | None = None
    instance_id: str | None = None
    mailbox_dir: Path | None = None

    @property
    def capability_url(self) -> str:
        """The address for a browser or a proxy that can send no header."""
        return f"{self.url}/c/{self.token}/" if self.token else f"{self.url}/"


Locate = Callable[[], Endpoint]


def endpoint_of(data_dir: Path) -> Endpoint:
    """Read what the daemon of this data directory left; NoDaemon when there is none."""
    record = data_dir / "daemon.json"
    try:
        facts: dict[str, Any] = json.loads(record.read_bytes())
        if not is_same(int(facts["pid"]), facts.get("began")):
            # Somebody else may listen there by now, and would be given the token.
            raise NoDaemon(STALE)
        return Endpoint(
            url=str(facts["url"]).rstrip("/"),
            token=Path(facts["token_file"]).read_text(encoding="ascii").strip(),
            pid=int(facts["pid"]),
            instance_id=str(facts["instance_id"]),
            mailbox_dir=Path(facts["mailbox_dir"]),
        )
    except FileNotFoundError:
        message = f"no daemon is running on {data_dir}; start one with: brainpilot-rt serve"
        raise NoDaemon(message) from None
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise NoDaemon(f"cannot read what the daemon left in {record}: {error!r}") from None


class Client:
    """One daemon, asked over HTTP; a connection per request."""

    def __init__(self, locate: Locate) -> None:
        self._locate = locate

    def endpoint(self) -> Endpoint:
        """Where the daemon is at this moment."""
        return self._locate()

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Send one request and return the JSON of its answer.

        Raises:
            NoDaemon: Nothing listens there.
            Refused: An answer of 400 or above.
        """
        with closing(self._send(method, path, body)) as response:
            return _decode(response.read())

    def lines(self, path: str) -> Iterator[str]:
        """Give the lines of a JSON-lines answer as they come."""
        with closing(self._send("GET", path, None)) as response:
            for line in response:
                yield line.decode("utf-8").rstrip("\n")

    def stream(self, path: str, cursor: str | None) -> Generator[tuple[str | None, Frame]]:
        """Open one SSE connection and give (id, frame) until it ends or breaks."""
        headers = {"Accept": "text/event-stream"}
        if cursor:
            headers["Last-Event-ID"] = cursor
        response = self._send("GET", path, None, headers=headers, timeout=STREAM_SILENCE_S)
        with closing(response):
            yield from parse_stream(response)

    def _send(
        self,
        method: str,
        path: str,
        body: object,
        *,
        headers: dict[str, str] | None = None,
        timeout: float = REQUEST_TIMEOUT_S,
    ) -> http.client.HTTPResponse:
        there = self._locate()
        parts = urlsplit(there.url)
        sort = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        sending = {"Accept": "application/json", **(headers or {})}
        if there.token:
            sending["Authorization"] = f"Bearer {there.token}"
        data = None
        if body is not None:
            sending["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        # `Connection: close` hands the socket to the response, so that closing it closes all.
        sending["Connection"] = "close"
        connection = sort(parts.hostname or "", parts.port, timeout=timeout)
        try:
            connection.request(method, f"{parts.path}{path}", body=data, headers=sending)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            hint = "start one with: brainpilot-rt serve"
            raise NoDaemon(f"no daemon answers at {there.url} ({error}); {hint}") from None
        if response.status >= http.client.BAD_REQUEST:
            with closing(response):
                raise _refusal(response.status, _decode(response.read()))
        return response


def _decode(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        raise Refused(
            0, "not_json", "the answer is not JSON: is this a brainpilot-rt daemon?"
        ) from None


def _refusal(status: int, answer: Any) -> Refused:
    problem = as_object(answer)
    if said := as_object(problem.get("error")):  # the form of `/v1`
        problem = {"error": said.get("message"), "code": said.get("type")}
    detail = problem.get("detail") or problem.get("error") or f"the daemon answered {status}"
    if status == http.client.UNAUTHORIZED:
        detail = "the daemon did not accept the token (BP_TOKEN, or `brainpilot-rt token show`)"
    return Refused(status, str(problem.get("code") or ""), str(detail))


def as_object(value: Any) -> dict[str, Any]:
    """Give `value` if it is a JSON object, else an empty one."""
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}


def as_objects(value: Any) -> list[dict[str, Any]]:
    """Give the JSON objects in `value` if it is an array, else none."""
    return [as_object(one) for one in cast(list[Any], value)] if isinstance(value, list) else []


def session_path(session: str, rest: str = "", **query: str) -> str:
    """Write `/sessions/<session><rest>?<query>` with everything escaped."""
    asked = f"?{urlencode(query)}" if query else ""
    return f"/sessions/{quote(session, safe='')}{rest}{asked}"


def parse_stream(
    lines: Iterator[bytes] | http.client.HTTPResponse,
) -> Generator[tuple[str | None, Frame]]:
    """Turn SSE lines into (id, frame); comments keep the connection alive and say nothing."""
    cursor: str | None = None
    data: list[str] = []
    for raw in lines:
        line = raw.decode("utf-8").rstrip("\r\n")
        if not line and data:
            yield cursor, json.loads("\n".join(data))
            cursor, data = None, []
        elif line.startswith("id:"):
            cursor = line[3:].strip()
        elif line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))


def follow(
    client: Client,
    path: str,
    cursor: str | None = None,
    *,
    pause: Callable[[float], None] = time.sleep,
    patience_s: float = RECONNECT_FOR_S,
) -> Generator[tuple[str | None, Frame]]:
    """Follow a stream for as long as the caller wants it, across cuts and restarts.

    Args:
        client: The daemon.
        path: Of the stream, with its query if the first connection needs one.
        cursor: Where to go on; None for the start (or what `path` asks for).
        pause: Waits before another try, in seconds.
        patience_s: Seconds of failed tries in a row after which NoDaemon is raised.

    Yields:
        (cursor or None, frame): the state frames carry no cursor.
    """
    seen: OrderedDict[str, None] = OrderedDict()
    failed_for, delay = 0.0, 0.1
    while True:
        try:
            for position, frame in client.stream(path, cursor):
                failed_for, delay = 0.0, 0.1
                cursor = position or cursor
                if _is_new(seen, frame):
                    yield position, frame
        except (NoDaemon, OSError, http.client.HTTPException, ValueError) as error:
            if failed_for >= patience_s:
                raise NoDaemon(f"the stream ended and did not come back: {error}") from None
        except Refused as refusal:
            if refusal.status < http.client.INTERNAL_SERVER_ERROR or failed_for >= patience_s:
                raise
        pause(delay)
        failed_for, delay = failed_for + delay, min(delay * 2, 5.0)


def _is_new(seen: OrderedDict[str, None], frame: Frame) -> bool:
    identity = frame.get("_event_id")
    if not isinstance(identity, str):
        return True
    # A state frame replaces the one before it, and its name is that of the moment it describes.
    if identity.startswith("state:"):
        return True
    if identity in seen:
        return False
    seen[identity] = None
    if len(seen) > SEEN_MAX:
        seen.popitem(last=False)
    return True


def is_listening(there: Endpoint) -> bool:
    """True when the daemon that wrote `daemon.json` is the one that answers at its address."""
    try:
        health = Client(lambda: there).call("GET", "/health")
    except click.ClickException:
        return False
    answered = as_object(health).get("instanceId")
    return there.instance_id is None or answered == there.instance_id
