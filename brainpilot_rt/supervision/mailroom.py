"""The mail room: files follow the log, and foreign files become commands.

The log promised a letter, so its file can be placed late, again or not yet: one task works through
what the feed says and brings every file to the box where it belongs. Letters that were accepted and
taken by a run in one commit go straight to `cur/`. What could not be placed (disk full, directory
gone) is tried again; nothing waits for it but other processes.

Once the daemon runs, only that task moves letters of ours, and it fills a mailbox that was lost
between two commits: a second hand that places what the first one is moving would leave two files.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Literal

from brainpilot_rt.aiokit.sources import NewId
from brainpilot_rt.aiokit.tasks import TaskSet
from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import CommandRejected, Conflict, RuntimeFault, Unavailable
from brainpilot_rt.domain.ids import AgentName, HostRunId, LetterId, MessageId, SessionId, TaskId
from brainpilot_rt.domain.letters import AgentCard, ForeignLetter, Letter
from brainpilot_rt.mailbox.codec import Reason
from brainpilot_rt.mailbox.maildir import LetterConflict, MailboxGone, Travelled
from brainpilot_rt.mailbox.postoffice import PostOffice
from brainpilot_rt.mailbox.reception import FoundLetter, MailHandlers
from brainpilot_rt.sessions.hub import Hub, Item
from brainpilot_rt.sessions.manager import SessionManager
from brainpilot_rt.sessions.state import OpenLetter, SessionState

AGAIN_S = 5.0

_log = logging.getLogger(__name__)


class MailRoom:
    """Owns the traffic between the log and the mailbox directories."""

    def __init__(self, manager: SessionManager, hub: Hub, *, new_id: NewId) -> None:
        self._manager = manager
        self._hub = hub
        self._new_id = new_id
        self._office: PostOffice | None = None
        self._todo: deque[ev.Recorded] = deque()
        self._again: dict[LetterId, Letter] = {}
        self._rebuilt: set[tuple[SessionId, AgentName]] = set()
        """Mailboxes that were lost and are back, empty."""
        self._wake = asyncio.Event()

    def handlers(self) -> MailHandlers:
        """What the postoffice is to tell us."""
        return MailHandlers(
            on_letter=self._on_letter,
            on_refused=self._on_refused,
            on_agent_dir=self._on_agent_dir,
            on_agent_gone=self._on_agent_gone,
            on_external_receipt=self._report,
            on_rebuilt=self._on_rebuilt,
            on_unknown_session=self._on_unknown_session,
        )

    def follow(self, office: PostOffice, tasks: TaskSet) -> None:
        """Begin to bring files to where the log says."""
        self._office = office
        self._hub.listen(self._on_item)
        tasks.spawn(self._work(), name="mail room", endless=True)

    # --- the log speaks, files follow -----------------------------------------------------

    def _on_item(self, item: Item) -> None:
        if isinstance(item, ev.Recorded) and isinstance(item.event, _FILED):
            self._todo.append(item)
            self._wake.set()

    async def _work(self) -> None:
        while True:
            try:
                async with asyncio.timeout(AGAIN_S if self._again else None):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            await self._retry()
            while self._todo:
                batch = list(self._todo)
                self._todo.clear()
                await self._file(batch)
            # Without a step in between: the files are where the state in memory says, or missing.
            await self._refill()

    async def _refill(self) -> None:
        lost, self._rebuilt = self._rebuilt, set()
        found = [(self._manager.find(session), agent) for session, agent in lost]
        for state, agent in found:
            if state is None:
                continue
            mail = [one for one in state.letters.values() if one.letter.to == agent]
            try:
                await self._sort(state, agent, mail)
            except (MailboxGone, OSError) as trouble:
                # Lost again: the next look into it says so.
                _log.warning("mail of %s/%s is not back yet: %s", state.session, agent, trouble)
            await _clear_claimed(self._opened(), state, agent)

    async def _file(self, batch: list[ev.Recorded]) -> None:
        """Bring the files of some commits to where the last of them says, in few steps."""
        office = self._opened()
        plan = _Plan(batch)
        for recorded in batch:
            _keep_book(office, recorded)
            if isinstance(recorded.event, ev.SessionDeleted):
                await _clear(office, self._manager, recorded.event.deleted)
        if plan.places:
            for letter in await office.place_all(list(plan.places.values())):
                await self._place(letter, plan.places[letter.id][1])
        for recorded in plan.moves:
            try:
                await self._move(recorded)
            except (MailboxGone, OSError, RuntimeFault) as trouble:
                # The log has it; a mailbox that comes back is filled again (`on_rebuilt`).
                _log.warning("no file follows %s: %s", recorded.event.type, trouble)
        if plan.consumed:
            await office.ack_all(plan.consumed)

    async def _move(self, recorded: ev.Recorded) -> None:
        office = self._opened()
        session = recorded.session
        match recorded.event:
            case ev.RunStarted(agent=agent, letter_ids=ids):
                await office.claim(session, agent, ids)
            case ev.LettersJoined(agent=agent, letter_ids=ids):
                await office.claim(session, agent, ids)
            case ev.RunFinished(agent=agent):
                kept = [one.letter.id for one in self._manager.state(session).queued_for(agent)]
                await office.release(session, agent, kept)
            case ev.LetterExpired(letter_id=letter_id) | ev.LetterDied(letter_id=letter_id):
                closed = self._manager.state(session).closed.get(letter_id)
                if closed is not None:
                    await office.ack(session, closed.to, [letter_id])
            case _:
                pass

    async def _place(self, letter: Letter, into: Travelled) -> None:
        office = self._opened()
        try:
            await office.place(letter, into, sync=_is_external(self._manager, letter))
        except LetterConflict as conflict:
            _log.error("a foreign file has taken the name of letter %s: %s", letter.id, conflict)
        except (MailboxGone, OSError) as trouble:
            _log.warning("letter %s can not be placed yet: %s", letter.id, trouble)
            self._again[letter.id] = letter
            return
        self._again.pop(letter.id, None)
        if _is_external(self._manager, letter):
            await self._report(letter.session, letter.to, letter.id, "placed")

    async def _retry(self) -> None:
        for letter in list(self._again.values()):
            state = self._manager.find(letter.session)
            known = state.letters.get(letter.id) if state is not None else None
            if known is None:
                del self._again[letter.id]
            else:
                await self._place(letter, "cur" if known.receipt == "claimed" else "new")

    async def reconcile(self, state: SessionState) -> int:
        """After a restart: bring every letter's file to its box; how many open ones were gone."""
        office = self._opened()
        missing = 0
        for agent in state.agents.values():
            mail = [one for one in state.letters.values() if one.letter.to == agent.name]
            card = AgentCard(name=agent.name, kind=agent.kind, description=agent.description)
            if agent.phase.value == "stopped":
                continue
            office.open_agent(state.session, card)
            if agent.kind == "external":
                placed: dict[LetterId, Literal["queued", "claimed"]] = {
                    one.letter.id: one.receipt for one in mail if one.placed
                }
                office.expect(state.session, agent.name, placed)
                mail = [one for one in mail if not one.placed]
            missing += await self._sort(state, agent.name, mail)
            if agent.kind == "managed":
                await _clear_claimed(office, state, agent.name)
        return missing

    async def _sort(self, state: SessionState, agent: AgentName, mail: Sequence[OpenLetter]) -> int:
        """Bring the files of these open letters to their boxes; how many were gone."""
        office, session, missing = self._opened(), state.session, 0
        try:
            boxes = await office.find(session, agent, [one.letter for one in mail])
        except (MailboxGone, OSError):
            boxes = {}
        for one in mail:
            box = boxes.get(one.letter.id)
            if box is None:
                missing += 1
                await self._place(one.letter, "cur" if one.receipt == "claimed" else "new")
            elif box == "cur" and one.receipt == "queued":
                await office.release(session, agent, [one.letter.id])
            elif box == "new" and one.receipt == "claimed":
                await office.claim(session, agent, [one.letter.id])
        return missing

    # --- foreign files speak, commands follow ---------------------------------------------

    async def _on_letter(self, session: SessionId, agent: AgentName, found: FoundLetter) -> bool:
        state = await self._manager.load(session)
        closed = state.closed.get(found.letter_id)
        if closed is not None and closed.to == agent:
            return False
        known = state.letters.get(found.letter_id)
        if known is not None and known.letter.to == agent:
            if not _same(known.letter, self._manager.redact(found.letter)):
                raise Conflict(f"another letter has the id {found.letter_id}")
            return True
        await self._manager.dispatch(
            session,
            cmd.ReceiveLetter(
                agent=agent,
                letter=found.letter,
                letter_id=found.letter_id,
                message_id=MessageId(f"msg_{found.letter_id}"),
                host_run_id=HostRunId(f"host_{self._new_id()}"),
                new_task_id=TaskId(f"task_{found.letter_id}"),
            ),
        )
        return True

    async def _on_refused(
        self, session: SessionId, agent: AgentName, file: str, reason: Reason, detail: str
    ) -> None:
        command = cmd.RefuseLetter(agent=agent, file=file, reason=reason.value, detail=detail)
        await self._manager.dispatch(session, command)

    async def _on_agent_dir(self, session: SessionId, agent: AgentName, card: AgentCard) -> None:
        await self._manager.dispatch(session, cmd.JoinExternal(agent=agent, card=card))

    async def _on_agent_gone(self, session: SessionId, agent: AgentName) -> None:
        await self._manager.dispatch(session, cmd.LeaveExternal(agent=agent))

    async def _report(
        self,
        session: SessionId,
        agent: AgentName,
        letter_id: LetterId,
        receipt: Literal["placed", "claimed", "consumed"],
    ) -> None:
        command = cmd.ReportLetter(agent=agent, letter_id=letter_id, receipt=receipt)
        try:
            await self._manager.dispatch(session, command)
        except (CommandRejected, Unavailable) as fault:
            _log.warning("receipt %s of letter %s not recorded: %s", receipt, letter_id, fault)

    async def _on_rebuilt(self, session: SessionId, agent: AgentName) -> None:
        await self._manager.load(session)
        self._rebuilt.add((session, agent))
        self._wake.set()

    async def _on_unknown_session(self, name: str) -> None:
        _log.warning("mailbox directory %r belongs to no session; nothing in it is read", name)

    def _opened(self) -> PostOffice:
        assert self._office is not None
        return self._office


def _keep_book(office: PostOffice, recorded: ev.Recorded) -> None:
    """Open and close addresses as the log says."""
    session = recorded.session
    match recorded.event:
        case ev.SessionCreated():
            office.open_session(session)
        case ev.AgentCreated() as event:
            card = AgentCard(name=event.agent, kind=event.kind, description=event.description)
            office.open_agent(session, card)
        case ev.AgentStopped(agent=agent, reason="left"):
            office.close_agent(session, agent)
        case _:
            pass


async def _clear(office: PostOffice, manager: SessionManager, deleted: SessionId) -> None:
    """What came late of a session that is gone may have opened its mailboxes again."""
    if manager.find(deleted) is None:
        try:
            await office.close_session(deleted, delete=True)
        except OSError as trouble:
            _log.warning("the mailboxes of %s stay: %s", deleted, trouble)


def _is_external(manager: SessionManager, letter: Letter) -> bool:
    """Whether the file is all its reader has: it must be on the disk to count as placed."""
    state = manager.find(letter.session)
    agent = state.agents.get(letter.to) if state is not None else None
    return agent is not None and agent.kind == "external"


class _Plan:
    """What some commits ask of the files, taken together: a new one goes straight to its box."""

    def __init__(self, batch: Iterable[ev.Recorded]) -> None:
        self.places: dict[LetterId, tuple[Letter, Travelled]] = {}
        """Letters without a file yet, and the box they belong into by now."""
        self.moves: list[ev.Recorded] = []
        """What is left to do one by one: claims, releases, letters nobody will read."""
        self.consumed: dict[tuple[SessionId, AgentName], list[LetterId]] = {}
        """Letters that have a file and are done with, by mailbox."""
        for recorded in batch:
            match recorded.event:
                case ev.LetterAccepted(letter=letter):
                    self.places[letter.id] = (letter, "new")
                case ev.RunStarted(letter_ids=ids) | ev.LettersJoined(letter_ids=ids):
                    self._claim(recorded, ids)
                case ev.RunFinished(retry_at_ms=None) as event:
                    self._consume(recorded.session, event)
                case ev.RunFinished() | ev.LetterExpired() | ev.LetterDied():
                    self.moves.append(recorded)
                case _:
                    pass

    def _claim(self, recorded: ev.Recorded, ids: Iterable[LetterId]) -> None:
        resumed = isinstance(recorded.event, ev.RunStarted) and recorded.event.resumes is not None
        late = [one for one in ids if not self._straight(one, "cur")]
        if late and not resumed:
            self.moves.append(recorded)

    def _consume(self, session: SessionId, event: ev.RunFinished) -> None:
        left = [one for one in event.letter_ids if not self._straight(one, "done")]
        if left:
            self.consumed.setdefault((session, event.agent), []).extend(left)

    def _straight(self, letter_id: LetterId, into: Travelled) -> bool:
        """Whether the letter has no file yet: then it goes into this box at once."""
        if letter_id not in self.places:
            return False
        self.places[letter_id] = (self.places[letter_id][0], into)
        return True


def _same(known: Letter, found: ForeignLetter) -> bool:
    """Could both be the same letter? What a foreign hand left out was filled in by us."""
    return known.content == found.content and (found.kind or known.kind) == known.kind


_FILED = (
    ev.SessionCreated,
    ev.SessionDeleted,
    ev.AgentCreated,
    ev.AgentStopped,
    ev.LetterAccepted,
    ev.RunStarted,
    ev.LettersJoined,
    ev.RunFinished,
    ev.LetterExpired,
    ev.LetterDied,
)


async def _clear_claimed(office: PostOffice, state: SessionState, agent: AgentName) -> None:
    """Take out of `cur/` what no run holds: consumed just before the end, or put there."""
    with suppress(MailboxGone, OSError):
        for letter_id in await office.claimed(state.session, agent):
            if letter_id in state.closed:
                await office.ack(state.session, agent, [letter_id])
            elif letter_id not in state.letters:
                await office.release(state.session, agent, [letter_id])
