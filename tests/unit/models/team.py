"""Requests, letters and a search tool for tests of the offline model: a team without a daemon."""

import re
from dataclasses import dataclass, field

from brainpilot_rt.domain.ids import AgentName, RunId, SessionId
from brainpilot_rt.domain.messages import (
    AssistantMessage,
    Message,
    ToolCall,
    ToolResultMessage,
    UserMessage,
)
from brainpilot_rt.domain.model_calls import ModelRequest, ReplyFinished
from brainpilot_rt.domain.tools import ToolSpec
from brainpilot_rt.models import offline

TOOLS = ("search", "send_message", "read")


def request(
    agent: str,
    *messages: Message,
    role: str | None = None,
    tools: tuple[str, ...] = TOOLS,
    turn: int = 0,
    run: str = "run_1",
) -> ModelRequest:
    return ModelRequest(
        session=SessionId("s"),
        agent=AgentName(agent),
        role=role or agent,
        run_id=RunId(run),
        turn=turn,
        model=None,
        system="You are part of a team.",
        messages=messages,
        tools=tuple(
            ToolSpec(name=name, description=name, parameters={"type": "object"}) for name in tools
        ),
    )


def letter(sender: str, kind: str, content: str, task: str | None = None) -> UserMessage:
    tail = f" · task {task}" if task else ""
    return UserMessage(
        text=f"[letter 01k from {sender} · {kind}{tail}]\n{content}\n[end of letter]"
    )


def search_result(files: dict[str, str]) -> str:
    """All files as passages, in the format of the search tool."""
    blocks: list[str] = []
    for number, (path, text) in enumerate(files.items(), 1):
        lines = text.splitlines()
        head = f"### {number}. {path}:1-{len(lines)} (score {9 - number:.2f})"
        blocks.append("\n".join([head, *(f"{n}| {line}" for n, line in enumerate(lines, 1))]))
    return "\n\n".join(blocks) or "No passages match."


@dataclass
class Team:
    """Agents whose model is the offline one, with letters passed on in memory."""

    files: dict[str, str]
    absent: frozenset[str] = frozenset()
    """Agents that letters can not be sent to."""
    without: frozenset[str] = frozenset()
    """Tools that nobody is offered."""
    histories: dict[str, list[Message]] = field(default_factory=dict[str, list[Message]])
    letters: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    turns: int = 0

    async def ask(self, question: str) -> str:
        """Let the team work until no letter is left; return the principal's last words."""
        pending: list[tuple[str, UserMessage]] = [("principal", UserMessage(text=question))]
        answer = ""
        while pending:
            agent, message = pending.pop(0)
            text = await self._run(agent, message, pending)
            answer = text if agent == "principal" else answer
        return answer

    async def _run(
        self, agent: str, message: UserMessage, pending: list[tuple[str, UserMessage]]
    ) -> str:
        history = self.histories.setdefault(agent, [])
        history.append(message)
        run = f"run_{agent}_{len(history)}"
        tools = tuple(name for name in (*TOOLS, "find") if name not in self.without)
        for turn in range(40):
            self.turns += 1
            reply = await self._reply(request(agent, *history, turn=turn, run=run, tools=tools))
            history.append(reply)
            if not reply.tool_calls:
                return reply.text
            history.extend(self._execute(agent, call, pending) for call in reply.tool_calls)
        raise AssertionError(f"{agent} does not stop")

    @staticmethod
    async def _reply(asked: ModelRequest) -> AssistantMessage:
        last = [event async for event in offline.stream(asked)][-1]
        assert isinstance(last, ReplyFinished)
        return last.message

    def _execute(
        self, agent: str, call: ToolCall, pending: list[tuple[str, UserMessage]]
    ) -> ToolResultMessage:
        arguments = call.arguments or {}
        content, is_error = search_result(self._matching(str(arguments.get("query")))), False
        if call.name == "find":
            content = "\n".join(self.files) or "Nothing matches."
        elif call.name == "read":
            lines = self.files[str(arguments["path"])].splitlines()
            content = "\n".join(f"{n}| {line}" for n, line in enumerate(lines, 1))
        elif call.name == "send_message":
            content, is_error = "accepted", arguments["to"] in self.absent
            if is_error:
                content = f"unknown recipient {arguments['to']}"
            else:
                self.letters.append({"from": agent, **arguments})
                task = arguments.get("task_id")
                if arguments["msg_type"] == "task_delegate":
                    task = f"task_{len(self.letters)}"
                sent = letter(agent, arguments["msg_type"], arguments["content"], task)
                pending.append((arguments["to"], sent))
        return ToolResultMessage(
            call_id=call.call_id, name=call.name, content=content, is_error=is_error
        )

    def _matching(self, query: str) -> dict[str, str]:
        words = query.lower().split()
        return {
            path: text
            for path, text in self.files.items()
            if any(re.search(re.escape(word), text.lower()) for word in words)
        }
