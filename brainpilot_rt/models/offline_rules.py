"""What each role does when no model is there: rules that read a request and decide the next reply.

The rules know nothing but the request, and keep no state: what has been done is read from the calls
of the present run. A step is a tool call with fixed arguments, so "has this step been taken?" is
"does the run hold a call with these arguments?", and asking twice decides the same.

- principal: delegates a question to the librarian, its findings to the writer, and gives the
  writer's text as the answer. Whoever can not be reached is replaced by searching alone.
- librarian and every other specialist: searches, and delivers sentences with citations.
- writer: makes an answer of the findings in its letter; without findings it searches itself.
- trace: says that it does nothing.

A letter that brings a result never causes a letter back to its sender, and a run takes at most
`TOOL_TURNS_MAX` turns with tools, so that a team of these can not go in circles.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from brainpilot_rt.domain.messages import (
    AssistantMessage,
    Message,
    ToolCall,
    ToolResultMessage,
    UserMessage,
)
from brainpilot_rt.domain.model_calls import ModelRequest
from brainpilot_rt.domain.thinking import EVIDENCE_HEAD, FINAL_HEAD
from brainpilot_rt.models.extraction import (
    NO_DOCUMENTS,
    Finding,
    compose,
    findings,
    openings,
    read_findings,
    write_findings,
)
from brainpilot_rt.models.sentences import is_overview, parts, query

TOOL_TURNS_MAX: Final = 24
PASSAGES: Final = 8
FILES_LISTED: Final = 200
FILES_TRIED: Final = 16
FILES_SHOWN: Final = 8
LINES_LOOKED_AT: Final = 40

LABEL: Final = "Answered by the offline model: fixed rules and text search, not an LLM."
ADVICE: Final = (
    "For answers by a model, set ANTHROPIC_API_KEY or OPENAI_API_KEY, choose a provider profile, "
    "or start Ollama."
)
_WRITER_LABEL: Final = "(Put together from quotations by the offline model, not an LLM.)"

UNPROVEN: Final = (
    "Insufficient evidence: no line that I found in the documents shows an answer; a document that "
    f"deals with the question would. {LABEL}"
)

_LETTER: Final = re.compile(
    r"^\[letter (?P<id>\S+) from (?P<sender>\S+) · (?P<kind>\w+)"
    r"(?: · task (?P<task>[^\s\]]+))?[^\]\n]*\]\n"
    r"(?P<content>.*?)\n?^\[end of letter\]$",
    re.DOTALL | re.MULTILINE,
)
SMALL_TALK: Final = re.compile(
    r"\W*(?:hi|hello|hey|good (?:morning|day|evening)|thanks?|thank you|ok(?:ay)?|bye|who are you|"
    r"what can you do|help|test|ping|你好|您好|谢谢|嗨)(?: (?:there|all|team|you|very much))?\W*",
    re.IGNORECASE,
)

_PROMPT: Final = re.compile(
    rf"(?:{re.escape(FINAL_HEAD)}|{re.escape(EVIDENCE_HEAD)}|Step \d+ of \d+: )"
)
_FILE: Final = re.compile(r"(?!\[\d+ more|Nothing matches\.$).")
_DOCUMENT: Final = re.compile(r"\.(?:md|markdown|txt|text|rst|org|adoc|tex|html?)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Step:
    """A tool call a rule wants made."""

    tool: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Decision:
    """The next reply: some text, and at most one call. Without a call the run ends."""

    text: str
    step: Step | None = None


@dataclass(frozen=True, slots=True)
class Mail:
    """A letter, what a user said (kind `user_message` from `user`), or a program's `prompt`."""

    sender: str
    kind: str
    content: str
    task: str | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """What a rule may look at: the request cut into mail and finished calls."""

    request: ModelRequest
    mail: tuple[Mail, ...]
    """Of the present run."""
    earlier: tuple[Mail, ...]
    """Of the runs before, as far as the conversation still holds them."""
    calls: tuple[tuple[ToolCall, ToolResultMessage], ...]
    """Of the present run."""

    def offers(self, tool: str) -> bool:
        """Whether the request allows this tool."""
        return any(spec.name == tool for spec in self.request.tools)

    def result(self, step: Step) -> ToolResultMessage | None:
        """What a step came to; None when it has not been taken."""
        for call, result in self.calls:
            if call.name == step.tool and call.arguments == step.arguments:
                return result
        return None


@dataclass(slots=True)
class Answer:
    """Texts that rules found, to be said when nothing is left to do."""

    texts: list[str] = field(default_factory=list[str])

    def add(self, text: str) -> None:
        """Say this at the end of the run, once."""
        if text not in self.texts:
            self.texts.append(text)


def decide(request: ModelRequest) -> Decision:
    """The next reply of the offline model."""
    if request.role == "trace":
        return Decision("The offline model does not edit the graph.")
    scene = read(request)
    rule = _principal if request.role == "principal" else _specialist
    answer = Answer()
    for mail in scene.mail:
        decision = rule(scene, mail, answer)
        if decision is None:
            continue
        if len(scene.calls) >= TOOL_TURNS_MAX:
            answer.add(f"I stop here: {TOOL_TURNS_MAX} tool calls are the limit of offline rules.")
            break
        return decision
    return Decision("\n\n".join(answer.texts) or f"Nothing is left to do. {LABEL}")


def read(request: ModelRequest) -> Scene:
    """Cut the conversation at the last reply that ended a run."""
    messages = request.messages
    start = 0
    for position, message in enumerate(messages):
        if isinstance(message, AssistantMessage) and not message.tool_calls:
            start = position + 1
    present = messages[start:]
    results = {m.call_id: m for m in present if isinstance(m, ToolResultMessage)}
    calls = tuple(
        (call, results[call.call_id])
        for message in present
        if isinstance(message, AssistantMessage)
        for call in message.tool_calls
        if call.call_id in results
    )
    return Scene(request, tuple(_mail(present)), tuple(_mail(messages[:start])), calls)


def _mail(messages: tuple[Message, ...]) -> Iterator[Mail]:
    for message in messages:
        if not isinstance(message, UserMessage):
            continue
        for match in _LETTER.finditer(message.text):
            yield Mail(match["sender"], match["kind"], match["content"].strip(), match["task"])
        rest = _LETTER.sub("", message.text).strip()
        if _PROMPT.match(rest):
            yield Mail("daemon", "prompt", rest)
        elif rest:
            yield Mail("user", "user_message", rest)


def _principal(scene: Scene, mail: Mail, answer: Answer) -> Decision | None:
    match mail.kind:
        case "task_delegate":
            return _specialist(scene, mail, answer)
        case "result_deliver":
            return _take_result(scene, mail, answer)
        case "system":
            return _take_notice(scene, mail, answer)
        case "prompt":
            answer.add(UNPROVEN)
            return None
        case _:
            return _take_question(scene, mail.content, answer)


def _take_question(scene: Scene, question: str, answer: Answer) -> Decision | None:
    """Delegate it; when that is impossible, search alone."""
    if SMALL_TALK.fullmatch(question):
        answer.add(
            "Hello. I am the principal of a small team, running offline: fixed rules and text "
            "search, not an LLM. Ask about the documents in the workspace and I will find the "
            f"lines that answer it. {ADVICE}"
        )
        return None
    if not query(question) and not is_overview(question):
        answer.add(
            "I can only look for words, and this names none to look for. "
            f"Ask about something the documents may mention. {LABEL} {ADVICE}"
        )
        return None
    step = send("librarian", "task_delegate", f"Find passages that answer this.\n\n{question}")
    receipt = scene.result(step)
    if receipt is None and scene.offers("send_message"):
        return Decision(
            "I will ask the librarian to find the passages about this, then the writer to put "
            "the answer together from them.",
            step,
        )
    if receipt is not None and not receipt.is_error:
        answer.add("The librarian is searching; I answer when its findings arrive.")
        return None
    return _search_alone(scene, question, answer)


def _take_result(scene: Scene, mail: Mail, answer: Answer) -> Decision | None:
    """Findings go to the writer; everything else is an answer."""
    question, found = read_findings(mail.content)
    if mail.sender == "writer":
        answer.add(f"{mail.content}\n\n{ADVICE}")
        return None
    if not found:
        answer.add(f"The {mail.sender} reports:\n\n{mail.content}\n\n{LABEL} {ADVICE}")
        return None
    question = question or _last_question(scene)
    listed = "\n".join(f"- {each.statement} {each.citation}" for each in found)
    step = send(
        "writer",
        "task_delegate",
        "Write the answer from these findings. Keep every citation exactly as it is.\n\n"
        f"Question: {question}\n\n{listed}",
    )
    receipt = scene.result(step)
    if receipt is None and scene.offers("send_message"):
        text = f"The {mail.sender} found {len(found)} passages; the writer puts them together."
        return Decision(text, step)
    if receipt is not None and not receipt.is_error:
        answer.add("The writer is at work; I answer when its text arrives.")
        return None
    answer.add(final_answer(question, found))
    return None


def _take_notice(scene: Scene, mail: Mail, answer: Answer) -> Decision | None:
    """A task ended without a result: answer with what there is, or search alone."""
    if mail.task is None:
        return None
    answer.add(f"A specialist ended without a result: {mail.content}")
    for earlier in reversed((*scene.earlier, *scene.mail)):
        if earlier.kind == "user_message":
            return _search_alone(scene, earlier.content, answer)
        question, found = read_findings(earlier.content)
        if earlier.kind == "result_deliver" and found:
            answer.add(final_answer(question, found))
            return None
    return None


def _search_alone(scene: Scene, question: str, answer: Answer) -> Decision | None:
    decision, found = search_for(scene, question)
    if decision:
        return decision
    if found:
        answer.add(final_answer(question, found))
    elif is_overview(question) and scene.offers("find"):
        answer.add(f"{NO_DOCUMENTS} {LABEL} {ADVICE}")
    elif scene.offers("search"):
        answer.add(f"Nothing in the documents mentions this: {query(question)}. {LABEL} {ADVICE}")
    else:
        answer.add(f"I can neither delegate nor search, so I can not answer. {LABEL} {ADVICE}")
    return None


def _specialist(scene: Scene, mail: Mail, answer: Answer) -> Decision | None:
    """Find or write what a task asks for and deliver it; answer a user in text."""
    if mail.kind not in {"task_delegate", "user_message"}:
        return None
    asked, found = read_findings(mail.content) if scene.request.role == "writer" else ("", [])
    question = asked or _question_in(mail.content)
    decision, searched = (None, found) if found else search_for(scene, question)
    if decision:
        return decision
    if scene.request.role == "writer" and searched:
        report = f"{compose(question, searched)}\n\n{_WRITER_LABEL}"
    else:
        report = write_findings(question, searched)
    if mail.sender == "user":
        answer.add(f"{report}\n\n{LABEL}")
        return None
    step = send(mail.sender, "result_deliver", report, mail.task)
    receipt = scene.result(step)
    if receipt is None and scene.offers("send_message"):
        return Decision(f"I deliver {_count(searched)} to {mail.sender}.", step)
    if receipt is not None and not receipt.is_error:
        answer.add(f"Delivered {_count(searched)} to {mail.sender}. {LABEL}")
    else:
        reason = receipt.content if receipt else "sending is not allowed here"
        answer.add(f"I could not deliver to {mail.sender} ({reason}).\n\n{report}\n\n{LABEL}")
    return None


def search_for(scene: Scene, question: str) -> tuple[Decision | None, list[Finding]]:
    """The next search to make, for the question and each of its parts, or what they found."""
    if is_overview(question):
        return _leaf_through(scene)
    results: list[str] = []
    for words in dict.fromkeys(query(part) for part in (question, *parts(question))):
        step = Step("search", {"query": words, "top_k": PASSAGES})
        result = scene.result(step)
        if result is None and words and scene.offers("search"):
            return Decision(f"I search the documents for: {words}.", step), []
        if result is not None and not result.is_error:
            results.append(result.content)
    return None, findings(question, "\n\n".join(results))


def _leaf_through(scene: Scene) -> tuple[Decision | None, list[Finding]]:
    """The next file to look into, or how the files begin."""
    listing = Step("find", {"pattern": "*", "type": "file", "limit": FILES_LISTED})
    listed = scene.result(listing)
    if listed is None and scene.offers("find"):
        return Decision("I look which documents there are.", listing), []
    shown: list[tuple[str, str]] = []
    for path in _worth_a_look(listed.content) if listed and not listed.is_error else ():
        step = Step("read", {"path": path, "limit": LINES_LOOKED_AT})
        result = scene.result(step)
        if result is None and scene.offers("read"):
            return Decision(f"I look into {path}.", step), []
        if result is not None and not result.is_error:
            shown.append((path, result.content))
        if len(shown) == FILES_SHOWN:
            break
    return None, openings(shown)


def _worth_a_look(listing: str) -> list[str]:
    """Of the files the find tool lists, some that are probably documents, those on top first."""
    paths = [line for line in listing.split("\n") if _FILE.match(line)]
    return sorted(paths, key=lambda path: (not _DOCUMENT.search(path), path.count("/")))[
        :FILES_TRIED
    ]


def send(to: str, kind: str, content: str, task: str | None = None) -> Step:
    """A letter."""
    arguments: dict[str, Any] = {"to": to, "content": content, "msg_type": kind}
    if task is not None:
        arguments["task_id"] = task
    return Step("send_message", arguments)


def final_answer(question: str, found: list[Finding]) -> str:
    """Findings as the answer to the user."""
    return f"{compose(question, found)}\n\n{LABEL} {ADVICE}"


def _question_in(content: str) -> str:
    """What a task asks: the paragraph after our own instruction, else all of it."""
    head, separator, rest = content.partition("\n\n")
    return rest if separator and head.startswith("Find passages") else content


def _last_question(scene: Scene) -> str:
    for mail in reversed((*scene.earlier, *scene.mail)):
        if mail.kind == "user_message":
            return mail.content
    return ""


def _count(found: list[Finding]) -> str:
    return f"{len(found)} finding{'' if len(found) == 1 else 's'}"
