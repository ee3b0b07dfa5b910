"""Arguments that would become commands, options or other paths in careless hands.

Most tools hand their arguments on: to git, to a container, to a shell somebody forgot to quote
for. A path, an address, a branch or a name has no business with `;rm` or `$(...)`. Free text has:
a script to write, an expression to search for and a note in Markdown are not executed and are not
judged. Of what nobody knows, only what reads as a command and nothing else is taken for one.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

from brainpilot_rt.governance.inspections.requests import (
    Argument,
    Finding,
    FirewallConfig,
    ToolRequest,
    texts,
)
from brainpilot_rt.governance.inspections.shell import shell_risks

# What holds the list of commands is long to compile: `re` does it at the first call, and keeps it.
_COMMAND: Final = (
    r"(?:/(?:usr/)?bin/)?(?:rm|curl|wget|ba?sh|sh|zsh|nc|ncat|cat|id|whoami|env|printenv|touch|mv|cp"
    r"|chmod|chown|dd|mkfs|python3?|perl|ruby|node|powershell|cmd|eval|exec|sudo|su|kill|shutdown"
    r"|reboot|ping|nslookup|dig|ssh|scp|tar|sed|awk|echo|tee|xargs|base64|sleep|ls|find|ps|uname"
    r"|crontab|systemctl|docker|git|pip|npm|export|source|del|type|calc)(?:\.exe)?"
)
_CHAINED: Final = rf"[;|&]\s*{_COMMAND}(?=\s|$|[;|&<>)])"
_SPACED: Final = rf"[;|&]\s+{_COMMAND}\b|[;|&]{_COMMAND}\s"
_SHAPED: Final = rf"[;|&]\s*{_COMMAND}(?:\s*(?:$|[;|&<>])|\s+(?:[-/~.$\"'|\\]|\w+://))"
_STRONG: Final = re.compile(
    r"[;|&]\s*(?:rm\s+-\w*[rf]|(?:curl|wget)\s+\S*(?:-|://)|nc\s+-|(?:ba|z)?sh\s*(?:-c|$))"
)
_SUBSTITUTED: Final = re.compile(r"\$\(|`|\$\{IFS|[<>]\(|>\s*[/~&]")
_RUN: Final = rf"(?:\$\(\s*{_COMMAND}\b[^)]{{0,400}}\)|`\s*{_COMMAND}\b[^`]{{0,400}}`)"
_ONLY_RUN: Final = rf"\S{{0,200}}{_RUN}\S{{0,200}}"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_HIDDEN: Final = re.compile(r"[\u200b\u2060\u202a-\u202e\u2066-\u2069\ufeff]")
_OPTION: Final = re.compile(r"-{1,2}[A-Za-z]")
_DOTS_MAX: Final = 3
_HOST_OPTION: Final = re.compile(r"://(?:[^/@]*@)?-")
_LONG_OPTION: Final = re.compile(r"--[A-Za-z]")
_BAD_OPTION: Final = re.compile(
    r"--?(?:upload-pack|receive-pack|exec|use-askpass|open-files-in-pager|config-env|to-command"
    r"|checkpoint-action|post-file|output-document|ssh-command)\b"
    r"|-o\s*\w*Proxy|-c\s*(?:core|alias|protocol)\.|ext::",
    re.IGNORECASE,
)


_WORDS: Final = frozenset(
    {
        *("remember", "recall", "record_finding", "forget", "record_trace", "send_message"),
        *("ask_user", "propose_plan", "revise_plan", "close_step", "skill_search", "search"),
        *("create_trace_node", "update_trace_node", "add_trace_relation", "get_trace_graph"),
    }
)
"""Tools of ours that keep words and hand them to no disk and no shell."""


def command_findings(request: ToolRequest, config: FirewallConfig) -> Iterator[Finding]:
    """What stands in the arguments and should not."""
    if not request.external and request.tool in _WORDS:
        return
    for one in texts(request):
        if one.kind == "shell":
            reaction = config.on_shell_risk
            risks = shell_risks(one.text)
        else:
            reaction = config.on_command_injection
            risks = tuple(_risks(one))
        for risk in risks:
            yield Finding(reaction, "command_injection", f"{one.place} {risk}")


def _risks(one: Argument) -> Iterator[str]:
    if one.kind == "text":
        return
    if one.kind == "other":
        yield from _unknown_risks(one.text)
        return
    text = _decoded(one.text) if one.kind == "path" else one.text
    if _CONTROL.search(text.removesuffix("\n") if one.kind == "word" else text):
        yield "holds a control character"
    if _HIDDEN.search(text):
        yield "holds hidden characters"
    # An address has `;`, `|` and `&` of its own, but never a blank.
    chained = _SPACED if one.kind == "url" else _CHAINED
    if _SUBSTITUTED.search(text) or re.search(chained, text):
        yield "holds a command"
    starts = _LONG_OPTION if one.kind == "path" else _OPTION
    head = text.lstrip()
    if starts.match(head) or _BAD_OPTION.match(head) or _HOST_OPTION.search(head):
        yield "would be taken for an option"
    if one.kind == "path" and _escapes(text):
        yield "leads out of its folder"


def _unknown_risks(text: str) -> Iterator[str]:
    if "\0" in text:
        yield "holds a control character"
    chained = re.search(_SHAPED, text)
    alone = chained and not re.search(r"\s", text[: chained.start()].strip())
    if alone or _STRONG.search(text) or re.fullmatch(_ONLY_RUN, text.strip()):
        yield "holds a command"
    if _BAD_OPTION.match(text.lstrip()):
        yield "would be taken for an option"
    if text.count("../") > 1 and not re.search(r"\s", text) and _escapes(text):
        yield "leads out of its folder"


def _decoded(path: str) -> str:
    """The path as the most forgiving reader would understand it."""
    folded = unicodedata.normalize("NFKC", unquote(unquote(path)))
    return folded.replace("\\", "/")


def _escapes(path: str) -> bool:
    """Whether `..` leads above where a path begins; above the first folder of an absolute one."""
    parts = [part.strip() for part in path.split("/") if part not in ("", ".")]
    if any(len(part) > _DOTS_MAX and not part.strip(".") for part in parts):
        return True  # whoever takes `../` out of it leaves another one
    depth = -1 if path.startswith("/") else 0
    for part in parts:
        depth += -1 if part == ".." else 1
        if depth < 0 and part == "..":
            return True
    return False
