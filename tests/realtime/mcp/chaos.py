"""A program that speaks MCP badly; run by the tests with the name of what it does at its start.

It needs nothing but the standard library, so that it starts at once.
"""

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

LISTED = (
    "echo",
    "env",
    "die",
    "kill",
    "line",
    "garbage",
    "errors",
    "mute",
    "deaf",
    "report",
    "fork",
)
heard: list[str] = []


def say(**message: Any) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def answer(number: Any, text: str) -> None:
    say(id=number, result={"content": [{"type": "text", "text": text}]})


def call(number: Any, name: str, arguments: dict[str, Any]) -> None:  # noqa: C901, PLR0912 - a list
    match name:
        case "env":
            answer(number, json.dumps(dict(os.environ)))  # noqa: TID251 - what it was given
        case "die":
            sys.stdout.write('{"jsonrpc": "2.0", "id": ')  # half a message, then nothing
            sys.stdout.flush()
            os._exit(1)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "line":
            for _ in range(1024):
                sys.stdout.write("x" * (1 << 20))
        case "garbage":
            for _ in range(int(arguments["lines"])):
                sys.stdout.write("Listening on port 1234\n")
            answer(999, "for nobody")
            answer(number, "after the garbage")
        case "errors":
            for _ in range(2_000):
                sys.stderr.write("e" * 1_000 + "\n")
            answer(number, "after the errors")
        case "mute":
            pass
        case "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.close(0)
            time.sleep(3600)
        case "report":
            answer(number, json.dumps(heard))
        case "fork":
            # Leaves the group and keeps the pipes: only its mark can find it.
            child = subprocess.Popen(["sleep", "3600"], start_new_session=True)
            answer(number, str(child.pid))
        case _:
            answer(number, str(arguments.get("text", "")))


def main(mode: str) -> None:
    if mode == "exit":
        sys.exit("configuration missing")
    sys.stdout.write("Chaos server 1.0\n")  # a banner where only messages belong
    for line in sys.stdin:
        message = json.loads(line)
        method, number, params = message["method"], message.get("id"), message.get("params", {})
        heard.append(method)
        if method == "initialize":
            about: dict[str, Any] = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}}
            say(id=number, result={**about, "serverInfo": {"name": "chaos", "version": "1"}})
        elif method == "tools/list":
            tools = [{"name": name, "inputSchema": {"type": "object"}} for name in LISTED]
            say(id=number, result={"tools": tools})
        elif method == "tools/call":
            call(number, params["name"], params.get("arguments", {}))
        elif number is not None:
            say(id=number, error={"code": -32601, "message": "unknown"})


main(sys.argv[1])
