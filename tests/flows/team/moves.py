"""What the flow tests of a team say over and over."""

from typing import Any

from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import AgentName, HostRunId, LetterId, MessageId, TaskId
from brainpilot_rt.domain.letters import AgentCard, ForeignLetter
from brainpilot_rt.eventlog.memory import MemoryEventLog
from brainpilot_rt.testing.models import Call
from brainpilot_rt.testing.team import SESSION, LoopClock, Team


def memory_log() -> MemoryEventLog:
    """A log on the loop's time."""
    return MemoryEventLog(clock=LoopClock())


def send(to: str, content: str = "work", **more: str) -> Call:
    """A step of a script: an agent writes to another."""
    return Call("send_message", {"to": to, "content": content, **more})


async def ends(crew: Team) -> list[str]:
    """How the host turns ended."""
    return [
        one.event.outcome
        for one in await crew.events()
        if isinstance(one.event, ev.HostTurnFinished)
    ]


async def closed_tasks(crew: Team) -> list[str]:
    """How the tasks ended."""
    return [
        one.event.outcome for one in await crew.events() if isinstance(one.event, ev.TaskClosed)
    ]


async def notices(crew: Team, code: str | None = None) -> list[ev.NoticePosted]:
    """What a person was told."""
    return [
        one.event
        for one in await crew.events()
        if isinstance(one.event, ev.NoticePosted) and code in (None, one.event.code)
    ]


async def join(crew: Team, name: str) -> AgentName:
    """An external agent appears."""
    card = AgentCard(name=name, kind="external")
    agent = AgentName(name)
    await crew.organs.manager.dispatch(SESSION, cmd.JoinExternal(agent=agent, card=card))
    return agent


async def drop(crew: Team, to: str, content: str, **more: object) -> list[ev.Recorded]:
    """A file of another process is read; `letter_id` names it, else it is fresh."""
    letter_id = str(more.pop("letter_id", None) or crew.organs.new_id())
    letter = ForeignLetter.model_validate({"to": to, "content": content, **more})
    return await crew.organs.manager.dispatch(
        SESSION,
        cmd.ReceiveLetter(
            agent=AgentName(to),
            letter=letter,
            letter_id=LetterId(letter_id),
            message_id=MessageId(f"msg_{letter_id}"),
            host_run_id=HostRunId(f"host_{letter_id}"),
            new_task_id=TaskId(f"task_{letter_id}"),
        ),
    )


async def receipt(crew: Team, agent: str, letter_id: str, what: str) -> None:
    """An external agent moved a file."""
    command: dict[str, Any] = {"agent": agent, "letter_id": letter_id, "receipt": what}
    await crew.organs.manager.dispatch(SESSION, cmd.ReportLetter(**command))
