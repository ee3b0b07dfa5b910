"""`decide(state, command, moment) -> events`: what a command means for a session. Pure.

Refusals are raised as `CommandRejected`; a refusal that must be seen as `RefusedLoudly`. What
follows by itself from the new state is `schedule.follow_ups`, applied by `events_of`.
"""

from typing import assert_never

from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import unknown_session
from brainpilot_rt.domain.ids import EXTERNAL, PRINCIPAL, USER
from brainpilot_rt.domain.phases import AgentPhase
from brainpilot_rt.sessions import external, governing, letters, memories, runs
from brainpilot_rt.sessions.moment import Moment
from brainpilot_rt.sessions.state import SessionState


def decide(state: SessionState, command: cmd.Command, moment: Moment) -> list[ev.Event]:  # noqa: C901, PLR0911, PLR0912 - one case per command
    """Return the events a command makes, or raise why it may not."""
    if not isinstance(command, cmd.CreateSession) and not state.exists:
        raise unknown_session(state.session)
    match command:
        case cmd.CreateSession():
            return _create(state, command)
        case cmd.UpdateSession():
            return [_updated(command)]
        case cmd.PostUserMessage():
            return letters.post(state, command, moment)
        case cmd.SendLetter():
            return letters.send(state, command, moment)
        case cmd.ReceiveLetter():
            return external.receive(state, command, moment)
        case cmd.RefuseLetter():
            return [_refused(command)]
        case cmd.ReportLetter():
            return external.report(state, command)
        case cmd.CreateAgent():
            return runs.create_agent(state, command, moment)
        case cmd.DestroyAgent():
            return runs.destroy_agent(state, command, moment)
        case cmd.JoinExternal():
            return external.join_external(state, command)
        case cmd.LeaveExternal():
            return _left(state, command, moment)
        case cmd.Interrupt():
            return runs.interrupt(state, command)
        case cmd.AskQuestion():
            return runs.ask(state, command, moment)
        case cmd.AnswerQuestion():
            return runs.answer(state, command)
        case cmd.RequestApproval():
            return governing.request_approval(state, command, moment)
        case cmd.DecideApproval():
            return governing.decide_approval(state, command, moment)
        case cmd.OpenClientCall():
            return governing.open_client_call(state, command)
        case cmd.AnswerClientCall():
            return governing.answer_client_call(state, command)
        case cmd.JoinLetters():
            return runs.join(state, command, moment)
        case cmd.RemindTasks():
            return runs.remind(state, command)
        case cmd.FinishRun():
            return runs.finish(state, command, moment)
        case cmd.Remember():
            return memories.remember(state, command, moment)
        case cmd.ForgetItems():
            return memories.forget(state, command)
        case cmd.Evict():
            return [ev.SessionEvicted(agents_stopped=command.agents_stopped)]
        case cmd.Wake():
            return []
        case _:
            assert_never(command)


def _create(state: SessionState, command: cmd.CreateSession) -> list[ev.Event]:
    if state.exists:
        return []
    return [
        ev.SessionCreated(
            title=command.title,
            provider_id=command.provider_id,
            model_id=command.model_id,
            thinking=command.thinking,
            domain_resources=command.domain_resources,
            workspace=command.workspace,
            agent=command.agent,
            cap_usd=command.cap_usd,
            labels=dict(command.labels),
        ),
        ev.AgentCreated(agent=PRINCIPAL, role=PRINCIPAL, epoch=1, by=USER),
    ]


def _updated(command: cmd.UpdateSession) -> ev.SessionUpdated:
    return ev.SessionUpdated(
        title=command.title,
        thinking=command.thinking,
        cap_usd=command.cap_usd,
        labels=None if command.labels is None else dict(command.labels),
    )


def _refused(command: cmd.RefuseLetter) -> ev.LetterRefused:
    return ev.LetterRefused(
        agent=command.agent, file=command.file, reason=command.reason, detail=command.detail
    )


def _left(state: SessionState, command: cmd.LeaveExternal, moment: Moment) -> list[ev.Event]:
    known = state.agents.get(command.agent)
    if known is None or known.kind != "external" or known.phase is AgentPhase.STOPPED:
        return []
    return runs.gone(state, command.agent, "left", EXTERNAL, moment)
