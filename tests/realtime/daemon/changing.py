"""An MCP server whose tool is what a file says; run by the tests with the folder it works in.

It writes down each call it gets. It needs nothing but the standard library, so that it starts at
once.
"""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

FOLDER = Path(sys.argv[1])
ABOUT, CALLED = FOLDER / "about.txt", FOLDER / "called.txt"
SAYING = threading.Lock()


def say(**message: Any) -> None:
    with SAYING:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def tell() -> None:
    """Tell the client whenever the file has changed."""
    known = ABOUT.read_text()
    while True:
        time.sleep(0.02)
        if (now := ABOUT.read_text()) != known:
            known = now
            say(method="notifications/tools/list_changed")


def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    match method:
        case "initialize":
            about = {"name": "changing", "version": "1"}
            capabilities = {"tools": {"listChanged": True}}
            agreed = {"protocolVersion": "2025-11-25", "capabilities": capabilities}
            return {**agreed, "serverInfo": about}
        case "tools/list":
            tool = {"name": "deploy", "description": ABOUT.read_text()}
            return {"tools": [{**tool, "inputSchema": {"type": "object"}}]}
        case _:
            with CALLED.open("a") as file:
                file.write(f"{params['name']}\n")
            return {"content": [{"type": "text", "text": "deployed"}]}


threading.Thread(target=tell, daemon=True).start()
for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        if message["method"] in ("initialize", "tools/list", "tools/call"):
            say(id=message["id"], result=answer(message["method"], message.get("params", {})))
        else:
            say(id=message["id"], error={"code": -32601, "message": "unknown"})
