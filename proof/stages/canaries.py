"""Secrets are put in every place where people and programs leave them; nothing of ours repeats one.

A real daemon with a provider of the test's own: the model reads files with secrets in them, prints
them, passes them on by letter, says them in small pieces, and the provider repeats the key in an
error. Then everything the daemon has written or said is searched, databases decoded as well, for
every secret in every form. Not searched is what other hands wrote: the user's files in the work
tree, the settings, and letters that foreign processes put into a mailbox.
"""

import asyncio
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from brainpilot_rt.aiokit.sources import SystemClock, UlidSource
from brainpilot_rt.domain.letters import ForeignLetter
from brainpilot_rt.governance.redaction import MARKED, Redactor
from brainpilot_rt.mailbox.sender import send_letter
from brainpilot_rt.testing.daemon import DaemonHome, RunningDaemon
from proof.leaks import Canaries, decoded, found, hatch
from proof.stage import Number, Outcome, Stage, Task
from tests.realtime.daemon.provider import Ask, Call, Provider, Refused, Reply, provider
from tests.realtime.daemon.world import finished, get, say, session

PIECE_CHARS: Final = 5
_ROUTES: Final = ("", "/state", "/agents", "/letters", "/trace", "/stats", "/history?limit=0")
_OPEN: Final = ("/health", "/metrics", "/metrics?format=prometheus", "/openapi.json", "/sessions")


def run(task: Task) -> Outcome:
    """All canaries, all sinks; then what redaction costs and what it takes by mistake."""
    outcome = Outcome()
    rounds = task.count(1, 5)
    sinks = 0
    for number in range(rounds):
        folder = task.folder / f"c{number}"
        folder.mkdir()
        task.say(f"canaries, round {number + 1} of {rounds}")
        told = asyncio.run(_Round(folder, hatch(task.seed + number)).play())
        outcome.failures += [f"seed {task.seed + number}: {one}" for one in told.leaks]
        sinks = len(told.sinks)
    task.say("redacting the standard library")
    corpus, us_per_kb = _over_redaction(task.count(300, 100_000))
    many = len(hatch(task.seed).all) + 1
    outcome.numbers += [
        Number(
            "canary secrets found",
            "0 of 30 x all sinks",
            f"{len(outcome.failures)} of {many} x {sinks} sinks, {rounds} rounds",
            f"false positives: {corpus['redacted']} in {corpus['megabytes']:.1f} MB of Python's own"
            f" source and documentation ({', '.join(corpus['what']) or 'none'}); the user's own"
            " files and letters written by foreign processes are not sinks",
        ),
        Number("cost of redaction", "microseconds", f"{us_per_kb:.0f} us per KB of text", ""),
    ]
    outcome.figures = {"canaries": many, "sinks": sinks, "corpus": corpus, "us_per_kb": us_per_kb}
    return outcome


class _Told:
    def __init__(self) -> None:
        self.sinks: list[str] = []
        self.leaks: list[str] = []


class _Round:
    """One daemon, one set of canaries."""

    def __init__(self, folder: Path, canaries: Canaries) -> None:
        self.root = folder
        self.canaries = canaries
        self.told = _Told()

    async def play(self) -> _Told:
        """Everything, from the start of the daemon to its end."""
        async with provider(self._script) as told:
            home = self._home(told)
            async with home.running() as daemon:
                secrets = {**self.canaries.all, "token": daemon.token}
                seen = await self._live(daemon)
                seen |= await self._asked(daemon)
                ended = [await home.command("export", one["name"]) for one in seen["sessions"]]
                seen["export"] = "".join(one.out + one.err for one in ended)
                await daemon.stop()
                seen["stderr"] = daemon.said()
            self._search(secrets, seen)
        return self.told

    # --- where they are put ---------------------------------------------------------------

    def _home(self, told: Provider) -> DaemonHome:
        known = self.canaries.known
        home = DaemonHome(
            self.root,
            {
                "SOME_API_KEY": known["env key"],
                "GH_TOKEN": known["env token"],
                "DB_PASSWORD": known["env password"],
                "DATABASE_URL": f"postgres://me:{known['env address']}@db.example/x",
                "AWS_SECRET_ACCESS_KEY": known["env secret"],
                "MY_PROVIDER_KEY": known["profile key by name"],
            },
        )
        home.configure(f'[models]\nanthropic_api_key = "{known["settings key"]}"\n')
        template = home.data_dir / "bp_template"
        template.mkdir()
        profile = {"api": "openai-completions", "models": ["scripted"]}
        mine = {"id": "mine", "baseUrl": f"{told.url}/v1", "apiKey": known["profile key"]}
        other = {"id": "other", "baseUrl": f"https://u:{known['profile address']}@h.example/v1"}
        named = {"apiKeyEnv": "MY_PROVIDER_KEY"}
        profiles = [profile | mine, profile | other | named]
        settings = {"profiles": profiles, "selectedProfileId": "mine"}
        (template / "providers.json").write_text(json.dumps(settings), encoding="utf-8")
        self.work = self.root / "work"
        self.work.mkdir()
        for name, secret in self.canaries.formed.items():
            if name.startswith("file "):
                file = self.work / name.removeprefix("file ").replace(" ", "-")
                file.write_text(f"indexed words\nvalue = {secret}\n", encoding="utf-8")
        every = "\n".join(self.canaries.all.values())
        (self.work / "all.txt").write_text(every + "\n", encoding="utf-8")
        (self.work / "all.json").write_text(json.dumps(every), encoding="utf-8")
        (self.work / "long.txt").write_text((every + "\n") * 400, encoding="utf-8")
        return home

    async def _script(self, ask: Ask) -> Reply:
        formed = self.canaries.formed
        if "please fail" in ask.last:
            said = f"bad key {self.canaries.known['profile key']} or {formed['error body']}"
            raise Refused("401 Unauthorized", json.dumps({"error": {"message": said}}))
        if ask.agent != "principal":
            yield f"As you say: {formed['agent mail']}"
        elif ask.turn == 0:
            thought = {"reasoning_content": f"I think of {formed['model thought']} and go on"}
            yield _raw(thought)
            for piece in _pieces(f"First: {formed['model text']}. "):
                yield piece
            for call in self._calls():
                yield call
        else:
            for piece in _pieces("They are:\n" + "\n".join(self.canaries.all.values())):
                yield piece

    def _calls(self) -> list[Call]:
        formed = self.canaries.formed
        shell = (
            f"cat all.txt all.json; base64 -w0 all.txt; env; echo {formed['tool output']};"
            " cat /proc/*/environ; cat long.txt long.txt long.txt"
        )
        files = [name.removeprefix("file ").replace(" ", "-") for name in formed if "file " in name]
        return [
            *(Call("read", {"path": f"/workspace/{name}"}) for name in [*files, "long.txt"]),
            Call("grep", {"pattern": "value"}),
            Call("search", {"query": "indexed words"}),
            Call("bash", {"command": shell}),
            Call("write", {"path": "/workspace/new.txt", "content": formed["tool argument"]}),
            Call(formed["tool name"], {"a": formed["unknown tool"]}),
            Call("record_trace", {"content": f"the key is {formed['tool argument']}"}),
            Call("send_message", {"to": "engineer", "content": f"use {formed['agent mail']}"}),
            Call("read", {"path": f"/workspace/{formed['file name']}"}),
        ]

    async def _live(self, daemon: RunningDaemon) -> dict[str, Any]:
        """A session in which all of them come up; what its streams said."""
        formed, known = self.canaries.formed, self.canaries.known
        name = await session(daemon, workspace=str(self.work), title=f"on {formed['title']}")
        heard: list[bytes] = []
        async with asyncio.TaskGroup() as group:
            paths = (f"/sse/{name}?after=0", f"/sessions/{name}/events?after=0", "/events?after=0")
            ears = [group.create_task(_listen(daemon, path, heard)) for path in paths]
            await say(daemon, name, f"my key is {formed['user text']} and {known['env key']}")
            await finished(daemon, name)
            letter = ForeignLetter(
                to="principal", content=f"{formed['foreign mail']} {known['env password']}"
            )
            send_letter(daemon.mailboxes, name, letter, new_id=UlidSource(SystemClock()))
            await finished(daemon, name, turns=2)
            failing = await session(daemon)
            await say(daemon, failing, "please fail")
            await finished(daemon, failing)
            for ear in ears:
                ear.cancel()
        assert b"[redacted:" in b"".join(heard), "nothing came up"
        sessions = [{"name": name}, {"name": failing}]
        return {"sessions": sessions, "streams": b"".join(heard)}

    async def _asked(self, daemon: RunningDaemon) -> dict[str, Any]:
        """What routes answer, refusals included."""
        seen: dict[str, Any] = {}
        lost = self.canaries.formed["address of a request"]
        sessions = [one["id"] for one in (await get(daemon, "/sessions"))["sessions"]]
        paths = [*_OPEN, f"/sessions/{lost}", f"/sessions/{sessions[0]}/files/raw?path=/{lost}"]
        paths += [f"/sessions/{one}{route}" for one in sessions for route in _ROUTES]
        for path in paths:
            seen[path.replace(lost, "...")] = (await daemon.http.get(path)).text
        body = {"path": f"/x/{lost}", "contentBase64": "eA=="}
        await daemon.http.post(f"/sessions/{sessions[0]}/files", json=body)
        return seen

    # --- where they may not be ------------------------------------------------------------

    def _search(self, secrets: Mapping[str, str], seen: Mapping[str, Any]) -> None:
        data = self.root / "data"
        theirs = {data / "token", data / "config.toml", data / "bp_template" / "providers.json"}
        theirs |= {one for one in self.work.iterdir() if one.is_file() and one.name != "new.txt"}
        for path in sorted([*data.rglob("*"), *self.work.rglob("*")]):
            if path.is_file() and path not in theirs and not _foreign(path):
                self._look(secrets, str(path.relative_to(self.root)), path.read_bytes())
                if path.suffix == ".db":
                    self._look(secrets, f"{path.name}, decoded", decoded(path))
        for name, content in seen.items():
            if isinstance(content, str | bytes):
                self._look(secrets, name, content)

    def _look(self, secrets: Mapping[str, str], sink: str, content: bytes | str) -> None:
        self.told.sinks.append(sink)
        self.told.leaks += found(secrets, [*self.canaries.known, "token"], sink, content)


def _foreign(path: Path) -> bool:
    """Whether another process wrote this letter; ours name their sender."""
    return (
        path.suffix == ".json"
        and path.parent.name in {"new", "cur", "done", "bad"}
        and ("from" not in json.loads(path.read_bytes()))
    )


async def _listen(daemon: RunningDaemon, path: str, heard: list[bytes]) -> None:
    async with daemon.http.stream("GET", path, timeout=None) as answer:
        async for chunk in answer.aiter_raw():
            heard.append(chunk)  # noqa: PERF401 - it is cut off in the middle


def _pieces(text: str) -> list[str]:
    return [text[at : at + PIECE_CHARS] for at in range(0, len(text), PIECE_CHARS)]


def _raw(delta: dict[str, str]) -> bytes:
    chunk = {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def _over_redaction(files_max: int) -> tuple[dict[str, Any], float]:
    """What is taken from texts that hold no secret, and the microseconds per KB it costs."""
    redactor = Redactor({f"{n}-canary-of-no-meaning-{n}": "none" for n in range(4)})
    library = Path(os.__file__).parent
    files = sorted([*library.rglob("*.py"), *library.rglob("*.txt"), *library.rglob("*.rst")])
    files = [path for path in files if "site-packages" not in path.parts]
    size, spent, marks = 0, 0.0, list[str]()
    for path in files[:: max(1, len(files) // files_max)]:
        text = path.read_text(encoding="utf-8", errors="replace")
        began = time.process_time()
        clean = redactor.text(text)
        spent += time.process_time() - began
        size += len(text)
        marks += [f"{path.name}: {mark}" for mark in MARKED.findall(clean)]
    corpus = {"megabytes": size / 1e6, "redacted": len(marks), "what": marks[:8]}
    return corpus, spent * 1e6 / max(1, size / 1024)


STAGE = Stage("canaries", "Secrets go nowhere", run, faults=("G14", "S23", "S24", "S30"), order=60)
