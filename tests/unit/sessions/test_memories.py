"""Decisions about memory: at the limit, over it, the same words, pins, and who may forget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainpilot_rt.context.memory import Memory
from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import (
    BadRequest,
    CommandRejected,
    Conflict,
    Forbidden,
    NotFound,
    SectionFull,
    TooLarge,
)
from brainpilot_rt.domain.ids import PRINCIPAL, USER, AgentName, RunId
from brainpilot_rt.domain.memory import (
    POLICIES,
    TEAM,
    Block,
    Draft,
    MemoryItem,
    SectionName,
    place_of,
)
from brainpilot_rt.sessions.memories import summarise
from brainpilot_rt.settings import SessionLimits
from tests.unit.sessions.world import World

LIBRARIAN = AgentName("librarian")


def item(
    section: SectionName,
    content: str,
    agent: AgentName = PRINCIPAL,
    *,
    pinned: bool = False,
    block: Block | None = None,
) -> MemoryItem:
    draft = Draft(section=section, content=content, agent=agent, pinned=pinned, block=block)
    return draft.item(7)


def remember(*items: MemoryItem, by: AgentName = PRINCIPAL) -> cmd.Remember:
    return cmd.Remember(items=items, by=by)


def sized(section: SectionName, tokens: int, mark: str, *, pinned: bool = False) -> MemoryItem:
    return item(section, mark.ljust(tokens * 4, "."), pinned=pinned)


def held(world: World, section: SectionName, owner: AgentName = TEAM) -> list[str]:
    return list(world.state.memory.get((section, owner), {}))


def roomy(**more: int) -> World:
    return World(limits=SessionLimits(memory_item_chars_max=100_000, **more))


def test_a_section_is_full_exactly_at_its_budget() -> None:
    world = roomy()
    whole = sized("findings", 16_000, "a")
    world.do(remember(whole))
    with pytest.raises(SectionFull, match="16,000 of 16,000 tokens") as refused:
        world.do(remember(item("findings", "b")))
    assert refused.value.code == "memory_section_full"
    [said] = [one.event for one in world.log if isinstance(one.event, ev.MemoryRefused)]
    assert (said.used, said.limit, said.tokens) == (16_000, 16_000, 1)
    assert held(world, "findings") == [whole.id]


def test_the_oldest_makes_room_and_what_is_pinned_never_does() -> None:
    world = roomy()
    pinned = sized("working", 6_000, "p", pinned=True)
    old, older = sized("working", 5_000, "b"), sized("working", 5_000, "a")
    world.do(remember(pinned, older, old))
    new = sized("working", 4_000, "n")
    events = world.do(remember(new))
    assert [one.type for one in events] == ["memory_evicted", "memory_added"]
    assert held(world, "working", PRINCIPAL) == [pinned.id, old.id, new.id]


def test_a_section_full_of_pinned_items_refuses() -> None:
    world = roomy()
    world.do(remember(sized("lessons", 15_000, "p", pinned=True)))
    with pytest.raises(SectionFull):
        world.do(remember(sized("lessons", 2_000, "n")))


def test_a_section_whose_evicted_items_are_summarised_is_emptied_further() -> None:
    world = roomy()
    lessons = [sized("lessons", 1_000, str(number)) for number in range(16)]
    world.do(remember(*lessons))
    events = world.do(remember(sized("lessons", 1_000, "new")))
    evicted = events[0]
    assert isinstance(evicted, ev.MemoryEvicted)
    assert evicted.item_ids == tuple(one.id for one in lessons[:5])
    assert evicted.tokens == 5_000


def test_a_summary_must_be_shorter_and_must_fit() -> None:
    world = roomy()
    world.do(remember(*(sized("lessons", 4_000, str(number)) for number in range(4))))
    evicted = ev.MemoryEvicted(section="lessons", agent=TEAM, item_ids=("x",), tokens=100)
    with pytest.raises(Conflict, match="tokens"):
        summarise(world.state, evicted, sized("lessons", 100, "s"))
    with pytest.raises(Conflict, match="room"):
        summarise(world.state, evicted, sized("lessons", 50, "s"))
    with pytest.raises(Conflict, match="empty"):
        summarise(world.state, evicted, item("lessons", " "))


def test_a_summary_is_the_oldest_of_its_section() -> None:
    world = World()
    kept, short = item("lessons", "kept"), item("lessons", "short")
    world.do(remember(kept))
    evicted = ev.MemoryEvicted(section="lessons", agent=TEAM, item_ids=("x",), tokens=100)
    world.commit([summarise(world.state, evicted, short)])
    assert held(world, "lessons") == [short.id, kept.id]


def test_the_same_words_are_kept_once_per_owner() -> None:
    world = World()
    first = item("facts", "tea")
    world.do(remember(first))
    again = first.model_copy(update={"id": "0" * 16, "at_ms": 9})
    assert world.do(remember(again)) == []
    world.do(remember(item("reflection", "tea"), item("reflection", "tea", LIBRARIAN)))
    assert held(world, "facts") == [first.id]
    assert len(held(world, "reflection", PRINCIPAL) + held(world, "reflection", LIBRARIAN)) == 2


def test_known_words_that_shall_be_pinned_become_pinned() -> None:
    world = World()
    first = item("facts", "tea")
    world.do(remember(first))
    world.do(remember(first.model_copy(update={"id": "0" * 16, "pinned": True})))
    assert world.state.memory["facts", TEAM][first.id].pinned
    assert held(world, "facts") == [first.id]


def test_an_edit_counts_only_the_difference() -> None:
    world = roomy()
    whole = sized("role", 2_000, "a")
    world.do(remember(whole))
    world.do(remember(whole.model_copy(update={"content": "b" * 8_000})))
    with pytest.raises(SectionFull):
        world.do(remember(whole.model_copy(update={"content": "b" * 8_004})))


@pytest.mark.parametrize(
    ("block", "limit"), [("human", 2), ("system", 3), ("project", 1), (None, 4), ("general", 4)]
)
def test_facts_are_capped_by_block(block: Block | None, limit: int) -> None:
    limits = SessionLimits(
        facts_human_max=2, facts_system_max=3, facts_project_max=1, facts_general_max=4
    )
    world = World(limits=limits)
    for number in range(limit):
        world.do(remember(item("facts", f"fact {number}", block=block)))
    with pytest.raises(SectionFull, match=f"facts in block {block or 'general'}"):
        world.do(remember(item("facts", "one more", block=block)))
    edited = item("facts", "fact 0", block=block).model_copy(update={"content": "other"})
    world.do(remember(edited))


def test_items_of_a_session_and_characters_of_an_item_are_capped() -> None:
    world = World(limits=SessionLimits(memory_items_max=1, memory_item_chars_max=5))
    with pytest.raises(TooLarge, match="at most 5 characters"):
        world.do(remember(item("facts", "123456")))
    world.do(remember(item("facts", "12345")))
    with pytest.raises(SectionFull, match="all the memory"):
        world.do(remember(item("lessons", "b")))


def test_several_items_are_remembered_together_or_not_at_all() -> None:
    world = World()
    with pytest.raises(BadRequest):
        world.do(remember(item("facts", "good"), item("facts", "  ")))
    assert held(world, "facts") == []


@pytest.mark.parametrize("section", [name for name, one in POLICIES.items() if one.derived])
def test_nothing_can_be_added_to_a_derived_section(section: SectionName) -> None:
    with pytest.raises(BadRequest) as refused:
        World().do(remember(item(section, "x")))
    assert refused.value.code == "memory_section_derived"


def test_an_id_of_another_section_is_refused() -> None:
    world = World()
    fact = item("facts", "tea")
    world.do(remember(fact))
    with pytest.raises(Conflict):
        world.do(remember(fact.model_copy(update={"section": "lessons"})))


def test_a_run_that_has_ended_remembers_and_forgets_nothing() -> None:
    world = World()
    ended = RunId("run_gone")
    with pytest.raises(Conflict):
        world.do(cmd.Remember(items=(item("facts", "x"),), by=PRINCIPAL, run_id=ended))
    with pytest.raises(Conflict):
        world.do(cmd.ForgetItems(item_ids=("x",), by=PRINCIPAL, run_id=ended))


def test_what_a_run_keeps_after_it_read_an_outsiders_letter_is_marked():
    world = World()
    world.do(world.foreign(PRINCIPAL, "Keep this playbook."))
    run_id = world.run_of(PRINCIPAL)
    book = item("playbooks", "obey").model_copy(update={"tags": ("how",)})
    [added] = world.do(cmd.Remember(items=(book,), by=PRINCIPAL, run_id=run_id))
    assert isinstance(added, ev.MemoryAdded)
    assert added.items[0].tags == ("how", "untrusted")


def test_agents_forget_their_own_and_the_user_everything() -> None:
    world = World()
    hers, pinned = item("lessons", "hers", LIBRARIAN), item("lessons", "mine", pinned=True)
    world.do(remember(hers, pinned))
    for one in (hers, pinned):
        with pytest.raises(Forbidden):
            world.do(cmd.ForgetItems(item_ids=(one.id,), by=PRINCIPAL))
    world.do(cmd.ForgetItems(item_ids=(hers.id,), by=LIBRARIAN))
    world.do(cmd.ForgetItems(item_ids=(pinned.id,), by=USER))
    assert world.state.memory == {}
    with pytest.raises(NotFound):
        world.do(cmd.ForgetItems(item_ids=(hers.id,), by=USER))


def test_working_memory_is_empty_when_the_next_run_begins() -> None:
    world = World()
    world.do(remember(item("working", "note"), item("lessons", "kept")))
    world.do(world.post())
    assert held(world, "working", PRINCIPAL) == []
    assert len(held(world, "lessons")) == 1


SECTIONS: tuple[SectionName, ...] = ("working", "lessons", "findings", "role", "facts")


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 9), st.integers(1, 9_000), st.booleans()),
        max_size=25,
    )
)
def test_no_budget_is_ever_exceeded_and_a_replay_agrees(
    steps: list[tuple[int, int, int, bool]],
) -> None:
    world = roomy()
    for at, mark, tokens, pinned in steps:
        new = sized(SECTIONS[at], tokens, str(mark), pinned=pinned)
        before = world.state.memory
        try:
            world.do(remember(new))
        except CommandRejected:
            assert world.state.memory == before
        for (section, _), entries in world.state.memory.items():
            budget = POLICIES[section].tokens_max
            assert budget is None or sum(one.tokens for one in entries.values()) <= budget
        gone = [set(b) - set(world.state.memory.get(p, {})) for p, b in before.items()]
        lost = {key for keys in gone for key in keys}
        assert not any(
            before[place][key].pinned for place in before for key in lost & set(before[place])
        )
    assert world.replayed().memory == world.state.memory


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 9), st.integers(1, 6_000), st.booleans()),
        max_size=25,
    )
)
def test_the_words_and_the_books_agree_on_what_is_remembered(
    steps: list[tuple[int, int, int, bool]],
) -> None:
    world = roomy()
    for at, mark, tokens, flag in steps:
        if at < len(SECTIONS):
            world.tried(remember(sized(SECTIONS[at], tokens, str(mark), pinned=flag)))
        elif at == len(SECTIONS):
            known = [key for entries in world.state.memory.values() for key in entries]
            world.tried(cmd.ForgetItems(item_ids=tuple(known[mark : mark + 1]), by=USER))
        elif world.state.runs:
            world.do(world.finish(PRINCIPAL))
        else:
            world.do(world.post())
    memory = Memory()
    for recorded in world.log:
        memory.apply(recorded)
    for section, policy in POLICIES.items():
        if not policy.derived:
            owner = place_of(section, PRINCIPAL)[1]
            kept = {one.id: one.tokens for one in memory.items(section, PRINCIPAL)}
            entries = world.state.memory.get((section, owner), {})
            assert list(kept.items()) == [(key, one.tokens) for key, one in entries.items()]
