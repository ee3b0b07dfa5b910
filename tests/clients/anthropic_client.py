# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false
"""Drives a daemon with the published `anthropic` client; ends with status 1 where it disagrees.

Usage: `python anthropic_client.py URL TOKEN`, with the interpreter of an environment that has it.
"""

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anthropic

URL, TOKEN = sys.argv[1:3]
NEW = int(anthropic.__version__.partition(".")[0]) >= 2
client = anthropic.Anthropic(api_key=TOKEN, base_url=URL, max_retries=0, timeout=60.0)
beta = client.beta
sessions = beta.sessions

WEATHER = {
    "type": "custom",
    "name": "weather",
    "description": "Tell the weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
FILES = {"type": "agent_toolset_20260401"}
ASKING = {**FILES, "default_config": {"permission_policy": {"type": "always_ask"}}}


def check(what: object, *seen: Any) -> None:
    if not what:
        raise AssertionError(*seen)


def text(words: str) -> dict[str, Any]:
    return {"type": "user.message", "content": [{"type": "text", "text": words}]}


def new_session(*tools: dict[str, Any], **more: Any) -> Any:
    agent = beta.agents.create(model="auto", name="Bob", system="Be brief.", tools=list(tools))
    place = beta.environments.create(name="here")
    return sessions.create(agent=agent.id, environment_id=place.id, **more)


@contextmanager
def following(session_id: str, **more: Any) -> Iterator[Iterator[Any]]:
    """Events from now on, as they come."""
    with sessions.events.stream(session_id, **more) as stream:
        yield iter(stream)


def until(events: Iterator[Any], stop: Callable[[Any], bool]) -> list[Any]:
    """Events up to the first that fits."""
    seen = []
    for event in events:
        seen.append(event)
        if stop(event):
            return seen
    raise AssertionError("the stream ended", [one.type for one in seen])


def idle(reason: str) -> Callable[[Any], bool]:
    return lambda one: one.type == "session.status_idle" and one.stop_reason.type == reason


def said(seen: list[Any]) -> list[str]:
    return [one.content[0].text for one in seen if one.type == "agent.message"]


def refused(status: int, call: Callable[[], Any]) -> Any:
    try:
        call()
    except anthropic.APIStatusError as error:
        check(error.status_code == status, error)
        check(error.body["type"] == "error", error.body)
        return error
    raise AssertionError("it was not refused")


def agents_have_versions_and_are_archived() -> None:
    made = beta.agents.create(
        model={"id": "auto"}, name="Ann", description="first", tools=[WEATHER, FILES],
        metadata={"team": "a"},
    )  # fmt: skip
    check(made.version == 1 and made.type == "agent" and made.name == "Ann", made)
    check([one.type for one in made.tools] == ["custom", FILES["type"]], made.tools)
    second = beta.agents.update(
        made.id, version=1, description="second", metadata={"team": None, "b": "c"}
    )
    check((second.version, second.description) == (2, "second"), second)
    check(second.metadata == {"b": "c"}, second.metadata)
    refused(409, lambda: beta.agents.update(made.id, version=1, name="late"))
    check(beta.agents.retrieve(made.id).version == 2)
    check(beta.agents.retrieve(made.id, version=1).description == "first")
    versions = [one.version for one in beta.agents.versions.list(made.id)]
    check(versions == [2, 1], versions)
    others = [beta.agents.create(model="auto", name=f"Clerk {n}").id for n in range(3)]
    listed = [one.id for one in beta.agents.list(limit=2)]
    check(listed[:3] == others[::-1] and made.id in listed, listed)
    archived = beta.agents.archive(made.id)
    check(archived.archived_at is not None, archived)
    check(made.id not in [one.id for one in beta.agents.list()])
    check(made.id in [one.id for one in beta.agents.list(include_archived=True)])
    place = beta.environments.create(name="x")
    refused(400, lambda: sessions.create(agent=made.id, environment_id=place.id))
    refused(404, lambda: beta.agents.retrieve("agent-nobody"))
    refused(400, lambda: beta.agents.create(model="no-such-model", name="x"))


def environments_are_kept_changed_and_deleted() -> None:
    made = beta.environments.create(name="lab", description="d", metadata={"a": "b"})
    check(made.config.type == "cloud" and made.archived_at is None, made)
    check(beta.environments.update(made.id, name="lab 2").name == "lab 2")
    check(made.id in [one.id for one in beta.environments.list()])
    check(beta.environments.archive(made.id).archived_at is not None)
    check(beta.environments.delete(made.id).type == "environment_deleted")
    error = refused(404, lambda: beta.environments.retrieve(made.id))
    check(isinstance(error, anthropic.NotFoundError), error)
    packages = {"type": "cloud", "packages": {"pip": ["numpy"]}}
    refused(400, lambda: beta.environments.create(name="x", config=packages))
    refused(400, lambda: beta.environments.create(name="x", config={"type": "self_hosted"}))


def sessions_are_made_listed_changed_archived_and_deleted() -> None:
    one = new_session(title="First", metadata={"k": "v"})
    check((one.status, one.title, one.metadata) == ("idle", "First", {"k": "v"}), one)
    check(sessions.retrieve(one.id).agent.id == one.agent.id)
    changed = sessions.update(one.id, title="Renamed", metadata={"k": None, "n": "w"})
    check((changed.title, changed.metadata) == ("Renamed", {"n": "w"}), changed)
    more = [new_session().id for _ in range(2)]
    first = sessions.list(limit=2)
    check([row.id for row in first.data] == more[::-1] and first.has_next_page(), first)
    check(one.id in [row.id for row in sessions.list(limit=2)])
    check(sessions.archive(one.id).archived_at is not None)
    refused(400, lambda: sessions.events.send(one.id, events=[text("hello")]))
    check(sessions.delete(one.id).type == "session_deleted")
    refused(404, lambda: sessions.retrieve(one.id))
    refused(404, lambda: sessions.events.send(one.id, events=[text("hello")]))


def a_turn_is_streamed_then_listed_by_page_and_type() -> None:
    session = new_session()
    with following(session.id) as events:
        sent = sessions.events.send(session.id, events=[text("hello")])
        check(sent.data[0].type == "user.message" and sent.data[0].processed_at is None, sent)
        seen = until(events, idle("end_turn"))
    kinds = [one.type for one in seen]
    check(said(seen) == ["You said hello."], seen)
    check(kinds.count("user.message") == 2, kinds)
    check(kinds.index("session.status_running") < kinds.index("agent.message"), kinds)
    check("span.model_request_end" in kinds, kinds)
    listed = list(sessions.events.list(session.id, limit=2))
    ids = [one.id for one in listed]
    check(len(ids) == len(set(ids)) and sent.data[0].id in ids, ids)
    names = ["agent.message", "user.message"]
    some = [one.type for one in sessions.events.list(session.id, types=names)] if NEW else names
    check(sorted(some) == names, some)
    newest = next(iter(sessions.events.list(session.id, order="desc", limit=1)))
    check(newest.type == "session.status_idle", newest)
    after = sessions.retrieve(session.id)
    check(after.status == "idle" and (after.usage.output_tokens or 0) > 0, after)


def pieces_of_a_message_come_before_it_for_who_asks() -> None:
    session = new_session()
    with following(session.id, event_deltas=["agent.message"]) as events:
        sessions.events.send(session.id, events=[text("hello")])
        seen = until(events, idle("end_turn"))
    starts = [one.event.id for one in seen if one.type == "event_start"]
    pieces = [one for one in seen if one.type == "event_delta"]
    whole = next(one for one in seen if one.type == "agent.message")
    check(starts == [whole.id], starts, whole)
    check("".join(one.delta.content.text for one in pieces) == whole.content[0].text, pieces)
    check("event_delta" not in [one.type for one in sessions.events.list(session.id)])


def calls_of_custom_tools_are_answered_one_by_one() -> None:
    session = new_session(WEATHER)
    with following(session.id) as events:
        sessions.events.send(session.id, events=[text("two weathers")])
        seen = until(
            events,
            lambda one: idle("requires_action")(one) and len(one.stop_reason.event_ids) == 2,
        )
        calls = [one for one in seen if one.type == "agent.custom_tool_use"]
        check(sorted(one.input["city"] for one in calls) == ["Oulu", "Turku"], calls)
        check({one.id for one in calls} == set(seen[-1].stop_reason.event_ids), seen[-1])
        check(sessions.retrieve(session.id).status == "idle")
        answer(session.id, calls[0], "rain")
        left = until(events, idle("requires_action"))[-1]
        check(left.stop_reason.event_ids == [calls[1].id], left)
        refused(400, lambda: answer(session.id, calls[0], "again"))
        answer(session.id, calls[1], "sun", is_error=True)
        last = until(events, idle("end_turn"))
    check("rain" in said(last)[-1] and "sun" in said(last)[-1], last)


def answer(session_id: str, call: Any, words: str, **more: Any) -> Any:
    result = {"type": "user.custom_tool_result", "custom_tool_use_id": call.id}
    content = [{"type": "text", "text": words}]
    return sessions.events.send(session_id, events=[{**result, "content": content, **more}])


def the_tool_runner_runs_them_by_itself() -> None:
    ran: list[str] = []

    @anthropic.beta_async_tool
    async def weather(city: str) -> str:
        """Tell the weather of a city."""
        ran.append(city)
        return f"{city} is calm"

    session = new_session(WEATHER, initial_events=[text("two weathers")])

    async def drive() -> None:
        async with anthropic.AsyncAnthropic(api_key=TOKEN, base_url=URL) as other:
            runner = other.beta.sessions.events.tool_runner(
                session.id, tools=[weather], max_idle=0.2
            )
            async with asyncio.timeout(60):
                await runner.until_done()

    asyncio.run(drive())
    check(sorted(ran) == ["Oulu", "Turku"], ran)
    last = said(list(sessions.events.list(session.id)))[-1]
    check("Oulu is calm" in last and "Turku is calm" in last, last)


def a_call_that_asks_runs_when_allowed_and_not_when_denied() -> None:
    for verdict in ("allow", "deny"):
        session = new_session(ASKING)
        with following(session.id) as events:
            sessions.events.send(session.id, events=[text("write a note")])
            seen = until(events, idle("requires_action"))
            (call,) = [one for one in seen if one.type == "agent.tool_use"]
            check((call.name, call.evaluated_permission) == ("write", "ask"), call)
            check(seen[-1].stop_reason.event_ids == [call.id], seen[-1])
            word = {"type": "user.tool_confirmation", "tool_use_id": call.id, "result": verdict}
            why = {"deny_message": "not today"} if verdict == "deny" else {}
            sessions.events.send(session.id, events=[{**word, **why}])
            seen = until(events, idle("end_turn"))
        (result,) = [one for one in seen if one.type == "agent.tool_result"]
        check(result.is_error is (verdict == "deny"), result)
        check("user.tool_confirmation" in [one.type for one in seen], seen)
        refused(400, lambda: sessions.events.send(session.id, events=[word]))  # noqa: B023


def an_interrupt_leaves_the_session_idle_and_usable() -> None:
    session = new_session()
    with following(session.id) as events:
        sessions.events.send(session.id, events=[text("take your time")])
        until(events, lambda one: one.type == "session.status_running")
        check(sessions.retrieve(session.id).status == "running")
        sessions.events.send(session.id, events=[{"type": "user.interrupt"}])
        until(events, idle("end_turn"))
        sessions.events.send(session.id, events=[text("hello")])
        seen = until(events, lambda one: one.type == "agent.message")
    check(said(seen) == ["You said hello."], seen)


def a_budget_ends_the_work_and_is_told() -> None:
    money = {"type": "limit", "max_list_cost": {"amount": "1", "currency": "USD"}}
    session = new_session(WEATHER, budget=money)
    check(session.budget.max_list_cost.amount == "1", session)
    with following(session.id) as events:
        sessions.events.send(session.id, events=[text("two weathers")])
        seen = until(events, idle("budget_reached"))
    calls = [one for one in seen if one.type.endswith("tool_use")]
    check({(one.type, one.evaluated_permission) for one in calls} == {("agent.tool_use", "deny")})
    after = sessions.retrieve(session.id)
    check(after.status == "idle" and int(after.usage.list_cost.amount) >= 1, after.usage)


def a_deleted_session_ends_its_stream() -> None:
    session = new_session()
    with following(session.id) as events:
        threading.Timer(0.1, lambda: sessions.delete(session.id)).start()
        last = list(events)
    check([one.type for one in last] == ["session.deleted"], last)


def what_is_not_here_says_so() -> None:
    session = new_session()
    error = refused(404, lambda: client.get("/v1/vaults", cast_to=object))
    check("vaults" in error.message, error.message)
    outcome = {"type": "user.define_outcome", "description": "d", "rubric": {"type": "text"}}
    refused(400, lambda: sessions.events.send(session.id, events=[outcome]))
    refused(400, lambda: sessions.events.send(session.id, events=[{"type": "system.message"}]))


def threads_are_the_agents_that_work() -> None:
    session = new_session()
    (thread,) = list(sessions.threads.list(session.id))
    check((thread.session_id, thread.parent_thread_id) == (session.id, None), thread)
    check(sessions.threads.retrieve(thread.id, session_id=session.id).status == "idle")


SCENARIOS = [
    agents_have_versions_and_are_archived,
    environments_are_kept_changed_and_deleted,
    sessions_are_made_listed_changed_archived_and_deleted,
    a_turn_is_streamed_then_listed_by_page_and_type,
    calls_of_custom_tools_are_answered_one_by_one,
    a_call_that_asks_runs_when_allowed_and_not_when_denied,
    an_interrupt_leaves_the_session_idle_and_usable,
    a_deleted_session_ends_its_stream,
    what_is_not_here_says_so,
]
ONLY_NEW = [
    pieces_of_a_message_come_before_it_for_who_asks,
    the_tool_runner_runs_them_by_itself,
    a_budget_ends_the_work_and_is_told,
    threads_are_the_agents_that_work,
]

for scenario in [*SCENARIOS, *(ONLY_NEW if NEW else [])]:
    if sys.argv[3:] and scenario.__name__ not in sys.argv[3:]:
        continue
    scenario()
    print("ok", scenario.__name__, flush=True)  # noqa: T201 - the result of the program
