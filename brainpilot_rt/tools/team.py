"""Tools that act on the team: letters, questions, agents, notes for the trace.

Each only asks the authority through a port of its context. What a letter is, whether a recipient
exists and what becomes of a task is decided there; a refusal comes back as the text of the result.
"""

from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import Field

from brainpilot_rt.domain.ids import PRINCIPAL, TRACE, TaskId, parse_agent_name
from brainpilot_rt.domain.letters import CONTENT_CHARS_MAX, LetterKind
from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.tools.context import Outgoing, ToolContext
from brainpilot_rt.tools.registry import Arguments, Tool, ToolOutput, tool

_NAME_CHARS_MAX: Final = 100
_QUESTION_CHARS_MAX: Final = 4_000


class SendMessage(Arguments):
    """Send a letter to another agent.

    This is the only way others learn anything from you: plain text of yours does not reach
    them. Delegation is asynchronous: after delegating, end your turn; the reply wakes you up.
    To report on a task you were given, send a result_deliver with its task_id to the agent it
    came from.
    """

    to: Annotated[
        str, Field(max_length=_NAME_CHARS_MAX, description="Name of the receiving agent.")
    ] = str(PRINCIPAL)
    content: Annotated[
        str,
        Field(
            min_length=1,
            max_length=CONTENT_CHARS_MAX,
            description="The whole text. Put long material into a workspace file and name it.",
        ),
    ]
    msg_type: Annotated[
        Literal["task_delegate", "result_deliver"] | None,
        Field(description="task_delegate opens a task, result_deliver reports on one."),
    ] = None
    task_id: Annotated[
        str | None,
        Field(max_length=_NAME_CHARS_MAX, description="The task this reports on, if any."),
    ] = None
    budget_usd: Annotated[
        float | None,
        Field(
            gt=0,
            le=1_000_000,
            description="Dollars of your own budget that a delegation may spend; unset: a part.",
        ),
    ] = None


class AskUser(Arguments):
    """Ask the user a question and wait for the answer, however long it takes.

    Only for decisions that are the user's and that you cannot settle yourself.
    """

    question: Annotated[str, Field(min_length=1, max_length=_QUESTION_CHARS_MAX)]
    options: Annotated[
        tuple[str, ...], Field(max_length=20, description="Answers to choose from, if any.")
    ] = ()
    allow_free_text: Annotated[
        bool, Field(description="Whether an answer of the user's own is welcome too.")
    ] = True


class CreateAgent(Arguments):
    """Bring a specialist into the team.

    Roles: librarian, experimentalist, engineer, writer, auditor; any other short lower-case
    name makes a general expert. Creating an agent gives it no work: delegate with send_message.
    """

    agent_type: Annotated[str, Field(max_length=_NAME_CHARS_MAX)]


class DestroyAgent(Arguments):
    """Take an agent out of the team for good. Letters it has not read come back as notices."""

    agent_type: Annotated[str, Field(max_length=_NAME_CHARS_MAX)]


class RecordTrace(Arguments):
    """Note a step, a decision or a finding for the reasoning graph, which the trace agent keeps.

    One or two sentences; name the files that show it.
    """

    description: Annotated[str, Field(min_length=1, max_length=_QUESTION_CHARS_MAX)]
    artifacts: Annotated[
        tuple[str, ...], Field(max_length=50, description="Workspace paths of files that show it.")
    ] = ()
    context: Annotated[
        str | None, Field(max_length=_QUESTION_CHARS_MAX, description="Why, or what led to it.")
    ] = None


async def _send_message(context: ToolContext, wanted: SendMessage) -> ToolOutput:
    kind = LetterKind(wanted.msg_type) if wanted.msg_type else None
    task_id = TaskId(wanted.task_id) if wanted.task_id else None
    letter = Outgoing(
        to=parse_agent_name(wanted.to),
        content=wanted.content,
        kind=kind,
        task_id=task_id,
        budget=None if wanted.budget_usd is None else Decimal(str(wanted.budget_usd)),
    )
    return ToolOutput(await context.send(letter))


async def _ask_user(context: ToolContext, wanted: AskUser) -> ToolOutput:
    # Without options a question that forbids free text could not be answered at all.
    free_text = wanted.allow_free_text or not wanted.options
    return ToolOutput(await context.ask(wanted.question, wanted.options, free_text))


async def _create_agent(context: ToolContext, wanted: CreateAgent) -> ToolOutput:
    return ToolOutput(await context.create_agent(parse_agent_name(wanted.agent_type)))


async def _destroy_agent(context: ToolContext, wanted: DestroyAgent) -> ToolOutput:
    return ToolOutput(await context.destroy_agent(parse_agent_name(wanted.agent_type)))


async def _record_trace(context: ToolContext, wanted: RecordTrace) -> ToolOutput:
    lines = [wanted.description]
    if wanted.context:
        lines.append(f"Context: {wanted.context}")
    lines += [f"Artifact: {path}" for path in wanted.artifacts]
    noted = Outgoing(to=TRACE, content="\n".join(lines), kind=LetterKind.TRACE_EVENT)
    receipt = await context.send(noted)
    return ToolOutput(f"Noted for the reasoning graph. {receipt}")


def team_tools() -> tuple[Tool, ...]:
    """The team tools. Letters leave in the order of their calls, so sending is sequential."""
    effect = Effect.IDEMPOTENT
    return (
        tool(_send_message, SendMessage, name="send_message", effect=effect, sequential=True),
        tool(_ask_user, AskUser, name="ask_user", effect=effect),
        tool(_create_agent, CreateAgent, name="create_agent", effect=effect, sequential=True),
        tool(_destroy_agent, DestroyAgent, name="destroy_agent", effect=effect, sequential=True),
        tool(_record_trace, RecordTrace, name="record_trace", effect=effect, sequential=True),
    )
