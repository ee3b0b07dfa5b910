"""Three invented models at an OpenAI-compatible address, for `run.py`: scripted, no network.

`liner` is careful, slow and dear, `cutter` careful, quick and fair, `skiff` cheap, slow and
careless. What they say follows a script, whichever is asked; the usage they report is what was sent
(four characters to a token), what is said, and the thinking the script names.
"""

import json
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from typing_extensions import override

PROVIDERS = {"harbour": ("liner", "skiff"), "yard": ("cutter",)}
"""The two who offer them, as far as the daemon knows; the first model is the default."""
COSTS: dict[str, dict[str, float]] = {
    "liner": {"input": 16.0, "output": 80.0},
    "cutter": {"input": 1.2, "output": 6.0, "cacheRead": 0.6},
    "skiff": {"input": 0.8, "output": 4.0, "cacheRead": 0.4},
}
"""US dollars for a million tokens, as they stand in `providers.json`."""
WAITS_S = {"liner": 0.30, "cutter": 0.05, "skiff": 0.35}
"""Until it begins to speak."""

LOG, REPORT = "/workspace/harbour-log.md", "/workspace/reports/july.md"
MAIL = "ida.varga@skerry-harbour.org"
HARBOUR_LOG = f"""# Harbour log, July

- 2 July: berth 3 silted up to 2.1 m. Dredger asked for.
- 9 July: the light on the east mole dark for 40 minutes.
- 17 July: tide gauge reads 0.3 m too high since the storm. Keeper: Ida Varga, {MAIL}
- 30 July: berth 3 dredged to 3.4 m.
"""
TEXT = """# July

Berth 3 was silted up until the 30th. The east light failed once. The gauge reads 0.3 m too high.
"""


@dataclass(frozen=True)
class Said:
    """A reply: its words, its calls (name and arguments), and tokens it takes to think."""

    text: str
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    thought: int = 0


FIRST_JOB = (
    Said("I look.", (("ls", {"path": "/workspace"}),)),
    Said("The folder is empty so far."),
)
CARELESS = (
    Said("I read the log.", (("read", {"path": "/workspace/log-of-the-harbour.md"}),)),
    Said("There is no log here."),
)
THE_REPORT = (
    Said(
        "I read the log first.",
        (("ls", {"path": "/workspace"}), ("read", {"path": LOG})),
        thought=700,
    ),
    Said(
        f"Whoever reads the gauge should write to {MAIL}. I write the report.",
        (("write", {"path": REPORT, "content": TEXT}),),
        thought=3000,
    ),
    Said("I read it again as it stands.", (("read", {"path": REPORT}),), thought=5000),
    Said(
        "Now I compare each line with the log.",
        (
            ("grep", {"pattern": "berth 3", "path": LOG}),
            ("grep", {"pattern": "gauge", "path": LOG}),
        ),
        thought=3600,
    ),
    Said("The report is in the folder."),
)


class Harbour(ThreadingHTTPServer):
    """The address of the three. `refuses`: replies of the script that first get a 503."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Speaks)
        self.refuses = {("cutter", 1)}
        self.answered = 0

    @property
    def url(self) -> str:
        """Its base address."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Speaks(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Chat Completions, as a stream."""
        at_harbour = self.server
        assert isinstance(at_harbour, Harbour)
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        model, messages = str(asked["model"]), list(asked["messages"])
        at, script = _place(messages, model)
        if script is THE_REPORT and (model, at) in at_harbour.refuses:
            at_harbour.refuses.discard((model, at))
            self.send_error(503, "the engine is cold")
            return
        at_harbour.answered += 1
        said = script[min(at, len(script) - 1)]
        time.sleep(WAITS_S[model])
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        sent = len(json.dumps(messages) + json.dumps(asked.get("tools", []))) // 4
        for chunk in _chunks(said, sent, number=len(messages)):
            self.wfile.write(b"data: " + chunk.encode() + b"\n\n")
            self.wfile.flush()

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _place(messages: list[dict[str, Any]], model: str) -> tuple[int, tuple[Said, ...]]:
    """Which reply of which script is due: so many were given since the last request."""
    last = max(at for at, one in enumerate(messages) if one["role"] == "user")
    given = sum(one["role"] == "assistant" for one in messages[last:])
    if "report" in str(messages[last]["content"]):
        return given, THE_REPORT
    return given, CARELESS if model == "skiff" else FIRST_JOB


def _chunks(said: Said, sent: int, number: int) -> Iterator[str]:
    words = said.text.split(" ")
    for at, word in enumerate(words):
        yield _delta({"content": word if at == len(words) - 1 else word + " "})
    for at, (name, arguments) in enumerate(said.calls):
        function = {"name": name, "arguments": json.dumps(arguments)}
        call = {"index": at, "id": f"c{number}-{at}", "type": "function", "function": function}
        yield _delta({"tool_calls": [call]})
    yield _delta({}, "tool_calls" if said.calls else "stop")
    spoken = (len(said.text) + len(json.dumps(said.calls))) // 4 + said.thought
    yield json.dumps(
        {
            "choices": [],
            "usage": {
                "prompt_tokens": sent,
                "completion_tokens": spoken,
                "completion_tokens_details": {"reasoning_tokens": said.thought},
                "total_tokens": sent + spoken,
            },
        }
    )
    yield "[DONE]"


def _delta(delta: dict[str, Any], stop: str | None = None) -> str:
    return json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": stop}]})


@contextmanager
def harbour() -> Generator[Harbour]:
    """Serve the three models until the block ends."""
    serving = Harbour()
    threading.Thread(target=serving.serve_forever, name="models", daemon=True).start()
    try:
        yield serving
    finally:
        serving.shutdown()
        serving.server_close()
