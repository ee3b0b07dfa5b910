"""The memory of a session: what is derived, what is kept, what has to go, what is found."""

from hypothesis import given
from hypothesis import strategies as st

from brainpilot_rt.context.memory import MATTERS, Memory
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import USER, AgentName, CallId, LetterId, RunId, SessionId
from brainpilot_rt.domain.letters import Authority, Letter, LetterKind
from brainpilot_rt.domain.memory import POLICIES, TEAM, MemoryItem, SectionName, item_id
from brainpilot_rt.domain.passages import Passage
from brainpilot_rt.domain.thinking import ContextSection, Plan, PlanStep
from brainpilot_rt.domain.tools import Effect

PRINCIPAL, LIBRARIAN = AgentName("principal"), AgentName("librarian")
RUN = RunId("run_1")


class Log:
    """Events with their places, and the memory they make."""

    def __init__(self) -> None:
        self.records: list[ev.Recorded] = []
        self.memory = Memory()

    def add(self, *events: ev.Event) -> None:
        for event in events:
            seq = len(self.records) + 1
            recorded = ev.Recorded(SessionId("s"), seq, seq, 1000 + seq, event)
            self.records.append(recorded)
            self.memory.apply(recorded)

    def said(self, section: SectionName, agent: AgentName | None = None) -> list[str]:
        return [item.content for item in self.memory.items(section, agent)]


def item(section: SectionName, content: str, agent: AgentName = PRINCIPAL) -> MemoryItem:
    return MemoryItem(
        id=item_id(section, 5, content), section=section, agent=agent, content=content, at_ms=5
    )


def added(*items: MemoryItem) -> ev.MemoryAdded:
    return ev.MemoryAdded(items=items, agent=PRINCIPAL)


def letter(name: str, content: str, sender: AgentName, to: AgentName) -> ev.LetterAccepted:
    whole = Letter(
        id=LetterId(name),
        session=SessionId("s"),
        from_=sender,
        to=to,
        kind=LetterKind.USER_MESSAGE,
        content=content,
        root_id=LetterId(name),
        created_at="2026-01-01T00:00:00Z",
        authority=Authority(origin="user"),
    )
    return ev.LetterAccepted(letter_id=whole.id, letter=whole)


def started(agent: AgentName, *letters: str, resumes: RunId | None = None) -> ev.RunStarted:
    return ev.RunStarted(
        run_id=RUN,
        agent=agent,
        letter_ids=tuple(map(LetterId, letters)),
        root_id=LetterId("l"),
        resumes=resumes,
    )


def finished(agent: AgentName, answer: str) -> ev.RunFinished:
    return ev.RunFinished(
        run_id=RUN, agent=agent, outcome="completed", letter_ids=(), turns=1, answer=answer
    )


def called(log: Log, number: int, result: str) -> None:
    call = CallId(f"call_{number}")
    log.add(
        ev.ToolPlanned(
            run_id=RUN,
            agent=PRINCIPAL,
            turn=0,
            call_id=call,
            name="read",
            arguments={"path": f"{number}.txt"},
            effect=Effect.PURE,
        ),
        ev.ToolFinished(
            run_id=RUN,
            agent=PRINCIPAL,
            call_id=call,
            name="read",
            content=result,
            status="completed",
        ),
    )


def test_messages_are_what_an_agent_has_read_and_answered() -> None:
    log = Log()
    log.add(
        letter("a", "What is flutter?", USER, PRINCIPAL),
        letter("b", "Look it up.", PRINCIPAL, LIBRARIAN),
        started(PRINCIPAL, "a"),
        started(LIBRARIAN, "b"),
        finished(PRINCIPAL, "A vibration."),
    )
    assert log.said("messages", PRINCIPAL) == ["user: What is flutter?", "assistant: A vibration."]
    assert log.said("messages", LIBRARIAN) == ["principal: Look it up."]
    assert len(log.said("messages")) == 3


def test_a_letter_is_remembered_once_however_often_its_run_is_tried() -> None:
    log = Log()
    log.add(letter("a", "Go.", USER, PRINCIPAL), started(PRINCIPAL, "a"), started(PRINCIPAL, "a"))
    assert log.said("messages") == ["user: Go."]


def test_actions_tell_the_call_and_a_short_result() -> None:
    log = Log()
    called(log, 1, "one\n  two " + "x" * 5000)
    [said] = log.said("actions", PRINCIPAL)
    assert said.startswith('Tool: read({"path": "1.txt"}) -> one two xxx')
    assert len(said) < 700
    assert said.endswith("…")


def test_actions_over_their_budget_lose_the_one_shown_longest_ago() -> None:
    log = Log()
    called(log, 0, "first")
    first = log.memory.items("actions")[0]
    for number in range(1, 300):
        called(log, number, "y" * 290)
        shown = ContextSection(name="actions", tokens=1, item_ids=(first.id,))
        log.add(
            ev.ContextAssembled(run_id=RUN, agent=PRINCIPAL, turn=0, sections=(shown,), tokens=1)
        )
    assert log.memory.get(first.id) == first
    assert "1.txt" not in "".join(log.said("actions")[:2])
    assert log.memory.tokens("actions") <= 16_000


def test_a_passage_is_remembered_once_with_the_text_it_has_now() -> None:
    log = Log()

    def shown(text: str) -> ev.PassagesRetrieved:
        one = Passage(path="a.txt", start_line=1, end_line=4, text=text, score=1.0)
        return ev.PassagesRetrieved(run_id=RUN, agent=PRINCIPAL, query="q", passages=(one,))

    log.add(shown("old"), shown("old"))
    version = log.memory.version("documents")
    log.add(shown("old"))
    assert log.memory.version("documents") == version
    log.add(shown("new"))
    assert log.said("documents") == ["a.txt:1-4\nnew"]
    assert log.memory.items("documents")[0].tags == ("a.txt", "1-4")


def test_the_last_intent_replaces_the_one_before_and_plans_are_kept() -> None:
    log = Log()
    for intent in ("respond", "plan"):
        log.add(
            ev.IntentClassified(
                run_id=RUN,
                agent=PRINCIPAL,
                intent=intent,
                confidence=0.5,
                reasoning="words",
                source="heuristic",
                program="react",
            )
        )
    plan = Plan(goal="Write.", steps=(PlanStep(text="Read", status="done", note="ok"),))
    log.add(ev.PlanChanged(run_id=RUN, agent=PRINCIPAL, op="proposed", plan=plan))
    assert log.said("last_intent", PRINCIPAL) == ["plan (0.50): words"]
    assert log.said("plan_history") == ["proposed (version 1): Write.\n1. [done] Read - ok"]


def test_what_is_kept_on_purpose_is_as_the_events_say() -> None:
    log = Log()
    one, two = item("lessons", "one"), item("lessons", "two")
    log.add(added(one), added(two))
    short = item("lessons", "short")
    log.add(
        ev.MemoryEvicted(section="lessons", agent=TEAM, item_ids=(one.id,), tokens=1),
        ev.MemorySummarised(
            section="lessons", agent=TEAM, item_ids=(one.id,), item=short, tokens_before=9
        ),
    )
    assert log.said("lessons") == ["short", "two"]
    log.add(ev.MemoryRemoved(section="lessons", item_ids=(two.id,), agent=USER))
    assert log.said("lessons") == ["short"]
    assert log.memory.get(two.id) is None


def test_an_edited_item_keeps_its_place() -> None:
    log = Log()
    one, two = item("facts", "one"), item("facts", "two")
    log.add(added(one, two), added(one.model_copy(update={"content": "ONE", "pinned": True})))
    assert log.said("facts") == ["ONE", "two"]
    assert log.memory.items("facts")[0].pinned


def test_a_new_run_begins_with_empty_working_memory_and_a_resumed_one_does_not() -> None:
    log = Log()
    log.add(added(item("working", "mine"), item("working", "hers", LIBRARIAN)))
    log.add(started(PRINCIPAL, resumes=RunId("run_0")))
    assert log.said("working", PRINCIPAL) == ["mine"]
    log.add(started(PRINCIPAL))
    assert log.said("working", PRINCIPAL) == []
    assert log.said("working", LIBRARIAN) == ["hers"]


def test_memory_outlives_its_agent() -> None:
    log = Log()
    log.add(added(item("findings", "flutter starts at 20 Hz", LIBRARIAN)))
    log.add(ev.AgentStopped(agent=LIBRARIAN, reason="destroyed", by=PRINCIPAL))
    log.add(ev.AgentCreated(agent=LIBRARIAN, role="librarian", epoch=2, by=PRINCIPAL))
    assert log.said("findings", PRINCIPAL) == ["flutter starts at 20 Hz"]


def test_search_looks_into_the_teams_sections_and_the_agents_own() -> None:
    log = Log()
    log.add(
        added(
            item("lessons", "wind tunnel data is noisy"),
            item("reflection", "tunnel first", LIBRARIAN),
            item("reflection", "ask about the tunnel", PRINCIPAL),
            item("facts", "the user likes tea"),
        )
    )
    found = log.memory.search("tunnel", 5, agent=PRINCIPAL)
    assert {one.content for one, _ in found} == {
        "wind tunnel data is noisy",
        "ask about the tunnel",
    }
    assert log.memory.search("tunnel", 1, section="facts") == []
    assert len(log.memory.search("tunnel", 5)) == 3
    assert log.memory.search("", 5) == []


def test_a_large_section_is_ranked_as_a_small_one_is() -> None:
    log = Log()
    for number in range(60):
        log.add(added(item("lessons", f"lesson number{number} about wings")))
    log.add(
        ev.MemoryRemoved(
            section="lessons",
            item_ids=(item("lessons", "lesson number7 about wings").id,),
            agent=USER,
        )
    )
    assert [one.content for one, _ in log.memory.search("number8 wings", 1)] == [
        "lesson number8 about wings"
    ]
    assert log.memory.search("number7", 3) == []


def happen(log: Log, kind: int, text: str, number: int) -> None:
    agent = (PRINCIPAL, LIBRARIAN)[number % 2]
    match kind:
        case 0:
            called(log, number, text * 100)
        case 1:
            log.add(letter(f"l{number}", text * 300, USER, agent))
        case 2:
            log.add(started(agent, f"l{number}"))
        case 3:
            log.add(finished(agent, text * 300))
        case 4:
            log.add(added(item("working", text or "x", agent)))
        case _:
            shown = tuple(one.id for one in log.memory.items("actions")[:2])
            section = ContextSection(name="actions", tokens=0, item_ids=shown)
            log.add(
                ev.ContextAssembled(run_id=RUN, agent=agent, turn=0, sections=(section,), tokens=0)
            )


@given(st.lists(st.tuples(st.integers(0, 5), st.text(max_size=40), st.integers(0, 3)), max_size=60))
def test_every_replay_agrees_and_no_derived_section_is_over_its_budget(
    steps: list[tuple[int, str, int]],
) -> None:
    log = Log()
    for kind, text, number in steps:
        happen(log, kind, text, number)
    again = Memory()
    for recorded in log.records:
        if recorded.event.type in MATTERS:
            again.apply(recorded)
    for section, policy in POLICIES.items():
        assert again.items(section) == log.memory.items(section)
        for agent in (PRINCIPAL, LIBRARIAN):
            held = log.memory.items(section, agent)
            assert log.memory.tokens(section, agent) == sum(one.tokens for one in held)
            if policy.derived and policy.tokens_max:
                assert log.memory.tokens(section, agent) <= policy.tokens_max
