"""How the offline model thinks: what a message wants, a plan and its steps, a check, a summary.

All of it by rules, as in `offline_rules`, which decides everything else. A request with several
parts (find out, examine, report) becomes a plan of three steps, each done by its specialist: the
librarian finds passages, the auditor reads the cited lines again, the writer puts the answer
together from what held. A step ends with a text; whoever can not be reached is done without.
"""

import json
import re
from typing import Final

from brainpilot_rt.domain.citations import Citation, located, parse
from brainpilot_rt.domain.messages import ToolResultMessage, UserMessage
from brainpilot_rt.domain.model_calls import ModelRequest
from brainpilot_rt.domain.thinking import CLASSIFY_HEAD, COMPACT_HEAD, FINAL_HEAD, PLAN_HEAD
from brainpilot_rt.models import offline_rules
from brainpilot_rt.models.extraction import Finding, read_findings
from brainpilot_rt.models.offline_rules import (
    LABEL,
    SMALL_TALK,
    Answer,
    Decision,
    Mail,
    Scene,
    Step,
    final_answer,
    read,
    search_for,
    send,
)

SUMMARY_LABEL: Final = "(Summary by the offline model: first words of each part, not an LLM.)"
SUMMARY_CHARS_MAX: Final = 2_000
SUMMARY_SHARE: Final = 5
"""A summary has at most one in so many characters of what it stands for."""
_LINE_CHARS_MAX: Final = 160
CHECKED_MAX: Final = 8
CHECK_HEAD: Final = "Check these findings against the lines they cite."

_STEP: Final = re.compile(r"^Step \d+ of \d+: (?P<text>.+)$", re.MULTILINE)
_SPECIALIST: Final = re.compile(r"\b(librarian|auditor|writer)\b")
_READ_LINE: Final = re.compile(r"^\s*\d+\| ?(?P<text>.*)$", re.MULTILINE)
_FIND: Final = re.compile(
    r"\b(?:find|gather|collect|look up|search|research|what|why|how|which)\b"
    "|查|找|收集|什么|如何|为什么",
    re.IGNORECASE,
)
_EXAMINE: Final = re.compile(
    r"\b(?:check|verify|examine|audit|review|compare|judge|test)\b|检查|核对|验证|比较|审查",
    re.IGNORECASE,
)
_REPORT: Final = re.compile(
    r"\b(?:report|write|summari[sz]e|compose|draft|explain)\b|报告|写|总结|撰写", re.IGNORECASE
)
_CLAUSE: Final = re.compile(r"[,;.\u3002\uff0c\uff1b]+\s*(?:(?:and|then)\b\s*)*|\s+and then\s+")
_PARTS_MIN: Final = 3


def decide(request: ModelRequest) -> Decision:
    """The next reply of the offline model."""
    if request.system.startswith(CLASSIFY_HEAD):
        return Decision(classify(_asked(request)))
    if request.system.startswith(COMPACT_HEAD):
        return Decision(summarise(_asked(request)))
    scene = read(request)
    if scene.offers("propose_plan"):
        if (question := _question(scene.mail)) and not scene.calls:
            return Decision("I make a plan for this.", _plan(question))
    elif PLAN_HEAD in request.system and scene.offers("close_step"):
        return _work_plan(scene)
    if request.role == "auditor":
        for mail in scene.mail:
            if mail.kind == "task_delegate" and mail.content.startswith(CHECK_HEAD):
                return _check(scene, mail)
    return offline_rules.decide(request)


# --- one question, one text -----------------------------------------------------------------


def classify(text: str) -> str:
    """What a message wants, as the JSON that was asked for."""
    message = text.strip().strip("-").strip()
    parts = sum(bool(one.search(message)) for one in (_FIND, _EXAMINE, _REPORT))
    if SMALL_TALK.fullmatch(message):
        intent, confidence, why = "respond", 0.9, "small talk"
    elif message.startswith((CHECK_HEAD, "Write the answer")):
        intent, confidence, why = "tool_use", 0.8, "work on findings that are there"
    elif message.startswith("Find passages"):
        intent, confidence, why = "research", 0.8, "passages are asked for"
    elif parts >= _PARTS_MIN:
        intent, confidence, why = "plan", 0.7, "to be found out, examined and reported"
    elif _FIND.search(message) or "?" in message:
        intent, confidence, why = "research", 0.6, "a question that documents may answer"
    else:
        intent, confidence, why = "tool_use", 0.5, "no rule says more"
    reasoning = f"{why} (offline rules, not an LLM)"
    return json.dumps({"intent": intent, "confidence": confidence, "reasoning": reasoning})


def summarise(text: str) -> str:
    """The first words of each part of a text, oldest first, within a share of its length."""
    room = min(SUMMARY_CHARS_MAX, len(text) // SUMMARY_SHARE) - len(SUMMARY_LABEL)
    lines = [SUMMARY_LABEL]
    for part in re.split(r"\n\s*\n", text):
        line = " ".join(part.split())
        line = line if len(line) <= _LINE_CHARS_MAX else f"{line[: _LINE_CHARS_MAX - 1]}…"
        room -= len(line) + 3
        if room < 0:
            break
        lines += [f"- {line}"] if line else []
    return "\n".join(lines)


# --- a plan ---------------------------------------------------------------------------------


def _plan(question: str) -> Step:
    steps = [
        "The librarian finds the passages of the documents that answer this.",
        "The auditor reads the cited lines again and keeps what holds.",
        "The writer puts the answer together from what held, with its citations.",
    ]
    goal = " ".join(question.split())[:400]
    return Step("propose_plan", {"goal": goal, "steps": steps})


def _work_plan(scene: Scene) -> Decision:
    """The open step, or the end of one."""
    for mail in scene.mail:
        if mail.kind == "prompt" and mail.content.startswith(FINAL_HEAD):
            return Decision(_report(scene))
        if mail.kind in {"result_deliver", "system"} and mail.task:
            return Decision(_came(mail))
    answer = Answer()
    decision = _work_step(scene, _open_step(scene), answer)
    return decision or Decision("\n\n".join(answer.texts) or f"This step is empty. {LABEL}")


def _work_step(scene: Scene, text: str, answer: Answer) -> Decision | None:
    """Hand a step to its specialist; do it alone when that fails."""
    match = _SPECIALIST.search(text)
    question, found = _to_find(_question((*scene.earlier, *scene.mail))), _held(scene)
    name = match[0] if match else "librarian"
    if name != "librarian" and not found:
        answer.add("There are no findings to work on, so this step is left out.")
        return None
    listed = "\n".join(f"- {one.statement} {one.citation}" for one in found)
    content = {
        "librarian": f"Find passages that answer this.\n\n{question}",
        "auditor": f"{CHECK_HEAD}\n\nQuestion: {question}\n\n{listed}",
        "writer": (
            "Write the answer from these findings. Keep every citation exactly as it is.\n\n"
            f"Question: {question}\n\n{listed}"
        ),
    }[name]
    step = send(name, "task_delegate", content)
    receipt = scene.result(step)
    if receipt is None and scene.offers("send_message"):
        return Decision(f"I hand this step to the {name}.", step)
    if receipt is not None and not receipt.is_error:
        answer.add(f"The {name} is at work on it.")
        return None
    if name != "librarian":
        answer.add(f"The {name} can not be reached; I go on with what there is.")
        return None
    decision, found = search_for(scene, question)
    if decision is None:
        answer.add(
            "\n".join(f"{one.statement} {one.citation}" for one in found) or "Nothing found."
        )
    return decision


def _came(mail: Mail) -> str:
    """What came of a step that somebody else did."""
    if mail.kind == "system":
        return f"No result: {mail.content}"
    _, found = read_findings(mail.content)
    return f"The {mail.sender} delivered {len(found)} cited statements."


def _report(scene: Scene) -> str:
    """The writer's text, else the findings that held."""
    for mail in reversed(scene.earlier):
        if mail.kind == "user_message":
            break
        if mail.kind == "result_deliver" and mail.sender == "writer":
            return mail.content
    found = _held(scene)
    if not found:
        return offline_rules.UNPROVEN
    return final_answer(_to_find(_question((*scene.earlier, *scene.mail))), found)


def _held(scene: Scene) -> list[Finding]:
    """The findings of the latest letter with some, since the user spoke."""
    for mail in reversed((*scene.earlier, *scene.mail)):
        if mail.kind == "user_message":
            break
        if mail.kind == "result_deliver":
            _, found = read_findings(mail.content)
            if found:
                return found
    return []


def _open_step(scene: Scene) -> str:
    """The text of the step that was begun last."""
    said: list[str] = []
    for message in scene.request.messages:
        if isinstance(message, UserMessage):
            said.append(message.text)
        elif isinstance(message, ToolResultMessage) and message.name == "propose_plan":
            said.append(message.content)
    found = [match["text"] for text in said for match in _STEP.finditer(text)]
    return found[-1] if found else ""


# --- a check --------------------------------------------------------------------------------


def _check(scene: Scene, mail: Mail) -> Decision:
    """Read the cited lines of each finding, then deliver those that hold."""
    question, found = read_findings(mail.content)
    held: list[Finding] = []
    for one in found[:CHECKED_MAX]:
        for citation in parse(one.citation):
            size = citation.end_line - citation.start_line + 1
            step = Step(
                "read", {"path": citation.path, "offset": citation.start_line, "limit": size}
            )
            result = scene.result(step)
            if result is None and scene.offers("read"):
                return Decision(f"I read the lines cited of {citation.path}.", step)
            if result is not None and not result.is_error and _holds(citation, result.content):
                held.append(one)
    lines = [f"{n}. {one.statement} {one.citation}" for n, one in enumerate(held, 1)]
    report = "\n".join(
        [
            f"Question: {question}",
            "",
            f"{len(held)} of {len(found)} findings hold: their words stand in the lines they cite.",
            *lines,
        ]
    )
    step = send(mail.sender, "result_deliver", report, mail.task)
    if scene.result(step) is None and scene.offers("send_message"):
        return Decision(f"I deliver the {len(held)} findings that hold.", step)
    return Decision(f"Checked {len(found)} findings. {LABEL}")


def _holds(citation: Citation, shown: str) -> bool:
    lines = [match["text"] for match in _READ_LINE.finditer(shown)]
    whole = citation.model_copy(update={"start_line": 1, "end_line": len(lines)})
    return bool(lines) and located(whole, lines) is not None


def _question(mail: tuple[Mail, ...]) -> str:
    return next((one.content for one in reversed(mail) if one.kind == "user_message"), "")


def _to_find(question: str) -> str:
    """Of a request with several parts, those that ask for something to be found out."""
    clauses = [clause for clause in _CLAUSE.split(question) if clause.strip()]
    asking = [one for one in clauses if not (_EXAMINE.search(one) or _REPORT.search(one))]
    return ", ".join(asking) or question


def _asked(request: ModelRequest) -> str:
    return "\n\n".join(one.text for one in request.messages if isinstance(one, UserMessage))
