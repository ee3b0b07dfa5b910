# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false
"""Drives a daemon with the published `openai` client; ends with status 1 where it disagrees.

Usage: `python openai_client.py URL TOKEN`, with the interpreter of an environment that has it.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import openai

URL, TOKEN = sys.argv[1:3]
client = openai.OpenAI(api_key=TOKEN, base_url=f"{URL}/v1", max_retries=0, timeout=60.0)
bare = openai.OpenAI(api_key=TOKEN, base_url=URL, max_retries=0, timeout=60.0)
AGENT = "harbour-pilot"
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Tell the weather of a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]


def check(what: object, *seen: Any) -> None:
    if not what:
        raise AssertionError(*seen)


def user(words: str) -> list[Any]:
    return [{"role": "user", "content": words}]


def refused(status: int, call: Callable[[], Any]) -> Any:
    try:
        call()
    except openai.APIStatusError as error:
        check(error.status_code == status, error.status_code, error.body)
        check(error.message and error.code, error.body)
        return error
    raise AssertionError("it was not refused")


def bootstrap() -> None:
    client.post("/agent/bootstrap", body={"agent_id": AGENT}, cast_to=object)


def models_are_auto_the_configured_ones_and_agents() -> None:
    names = [one.id for one in client.models.list()]
    check(names[0] == "auto" and AGENT in names and "principal" in names, names)
    check([one.id for one in bare.models.list()] == names)
    check(client.models.retrieve(names[1]).object == "model")
    check(refused(404, lambda: client.models.retrieve("nothing")).code == "model_not_found")


def a_model_answers_whole_and_in_pieces() -> None:
    for asked, name in ((client, "auto"), (bare, "auto:floor"), (client, "openai:scripted")):
        raw = asked.chat.completions.with_raw_response.create(model=name, messages=user("hello"))
        answer = raw.parse()
        check(answer.choices[0].message.content == "You said hello.", answer)
        check(answer.choices[0].finish_reason == "stop", answer)
        check(answer.usage and answer.usage.completion_tokens == 5, answer)
        check(raw.headers["x-br-model"] == "scripted", raw.headers)
        check(raw.headers["x-br-guardian-status"] == "pass", raw.headers)
        check(raw.headers["x-br-route-reason"], raw.headers)
    chunks = list(
        client.chat.completions.create(
            model="auto", messages=user("hello"), stream=True,
            stream_options={"include_usage": True},
        )
    )  # fmt: skip
    said = [one.choices[0].delta.content or "" for one in chunks if one.choices]
    check("".join(said) == "You said hello.", chunks)
    check([one.choices[0].finish_reason for one in chunks if one.choices][-1] == "stop")
    check(chunks[-1].usage and chunks[-1].usage.prompt_tokens == 10, chunks[-1])


def the_callers_tools_come_back_as_calls_of_a_model() -> None:
    two = user("two weathers")
    answer = client.chat.completions.create(model="auto", messages=two, tools=TOOLS)
    message = answer.choices[0].message
    check(answer.choices[0].finish_reason == "tool_calls", answer)
    cities = [json.loads(one.function.arguments)["city"] for one in message.tool_calls or []]
    check(cities == ["Turku", "Oulu"], message)
    results = [
        {"role": "tool", "tool_call_id": one.id, "content": "calm"}
        for one in message.tool_calls or []
    ]
    after = client.chat.completions.create(
        model="auto", tools=TOOLS, messages=[*two, message.model_dump(exclude_none=True), *results]
    )
    check(after.choices[0].message.content == "It came to: calm; calm", after)


def an_agent_answers_and_remembers_its_conversation() -> None:
    first = client.chat.completions.with_raw_response.create(model=AGENT, messages=user("hello"))
    check(first.parse().choices[0].message.content == "You said hello.", first.text)
    session = first.headers["x-conversation-id"]
    named = {"X-Conversation-Id": session}
    again = client.chat.completions.with_raw_response.create(
        model=AGENT, messages=user("hello again"), extra_headers=named
    )
    check(again.headers["x-conversation-id"] == session, again.headers)
    mine = {"X-Conversation-Id": "My chat, no. 7"}
    ids = {
        client.chat.completions.with_raw_response.create(
            model=AGENT, messages=user("hello"), extra_headers=mine
        ).headers["x-conversation-id"]
        for _ in range(2)
    }
    check(len(ids) == 1 and session not in ids, ids)
    chunks = list(client.chat.completions.create(model=AGENT, messages=user("hello"), stream=True))
    check("".join(one.choices[0].delta.content or "" for one in chunks) == "You said hello.")


def the_callers_tools_come_back_as_calls_of_an_agent() -> None:
    two = user("two weathers")
    for stream in (False, True):
        calls = called(two, stream=stream)
        check(sorted(city for _, city in calls) == ["Oulu", "Turku"], calls)
        results = [
            {"role": "tool", "tool_call_id": name, "content": f"{city} is calm"}
            for name, city in calls
        ]
        # The results alone say which conversation it is.
        answer = client.chat.completions.create(model=AGENT, tools=TOOLS, messages=[*two, *results])
        said = answer.choices[0].message.content or ""
        check("Turku is calm" in said and "Oulu is calm" in said, answer)
        repeated = client.chat.completions.create(
            model=AGENT, tools=TOOLS, messages=[*two, *results]
        )
        check(repeated.choices[0].message.content == said, repeated)


def called(messages: list[Any], *, stream: bool) -> list[tuple[str, str]]:
    if not stream:
        answer = client.chat.completions.create(model=AGENT, tools=TOOLS, messages=messages)
        calls = answer.choices[0].message.tool_calls or []
    else:
        chunks = client.chat.completions.create(
            model=AGENT, tools=TOOLS, messages=messages, stream=True
        )
        calls = [
            call for one in chunks if one.choices for call in one.choices[0].delta.tool_calls or []
        ]
    return [(one.id, json.loads(one.function.arguments)["city"]) for one in calls]


def responses_are_the_same_in_another_form() -> None:
    whole = client.responses.create(model="auto", input="hello", instructions="Be brief.")
    check((whole.output_text, whole.status) == ("You said hello.", "completed"), whole)
    events = list(bare.responses.create(model="auto", input="hello", stream=True))
    kinds = [one.type for one in events]
    check(kinds[0] == "response.created" and kinds[-1] == "response.completed", kinds)
    said = [one.delta for one in events if one.type == "response.output_text.delta"]
    check("".join(said) == "You said hello.", said)
    check(events[-1].response.output_text == "You said hello.", events[-1])
    flat: list[Any] = [{"type": "function", **TOOLS[0]["function"]}]
    asked = client.responses.create(model=AGENT, input="two weathers", tools=flat)
    calls: list[Any] = [one for one in asked.output if one.type == "function_call"]
    check(len(calls) == 2, asked)
    brought: list[Any] = [
        {"type": "function_call_output", "call_id": one.call_id, "output": "calm"} for one in calls
    ]
    after = client.responses.create(model=AGENT, input=brought, tools=flat)
    check(after.output_text == "It came to: calm; calm", after)
    more = client.responses.create(
        model=AGENT, input="hello", previous_response_id=asked.id, tools=flat
    )
    check(more.id.rpartition("_")[2] == asked.id.rpartition("_")[2], more.id)
    refused(
        400,
        lambda: client.responses.create(model="auto", input="x", previous_response_id="resp_1"),
    )


def what_can_not_be_done_is_refused_once() -> None:
    def ask(**more: Any) -> Callable[[], Any]:
        body: dict[str, Any] = {"model": "auto", "messages": user("hello"), **more}
        return lambda: client.chat.completions.create(**body)

    for wrong in (
        {"n": 2}, {"logprobs": True}, {"stop": ["x"]}, {"messages": []}, {"temperature": 9},
        {"response_format": {"type": "json_object"}}, {"tool_choice": "required"},
        {"messages": [{"role": "tool", "tool_call_id": "x", "content": "y"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
    ):  # fmt: skip
        refused(400, ask(**wrong))
    check(refused(404, ask(model="no-such-model")).code == "model_not_found")
    refused(404, ask(model="openai:", messages=user("x")))
    refused(400, ask(model=AGENT, messages=[{"role": "assistant", "content": "x"}]))
    stranger = {"role": "tool", "tool_call_id": "call_x_nowhere", "content": "y"}
    refused(404, ask(model=AGENT, messages=[stranger]))
    most = {"X-BR-Max-Estimated-Cost": "$0.0000001"}
    check(refused(402, ask(extra_headers=most)).code, "over budget")
    refused(402, ask(model=AGENT, extra_headers={"X-BR-Max-Estimated-Cost": "0"}))


SCENARIOS = [
    models_are_auto_the_configured_ones_and_agents,
    a_model_answers_whole_and_in_pieces,
    the_callers_tools_come_back_as_calls_of_a_model,
    an_agent_answers_and_remembers_its_conversation,
    the_callers_tools_come_back_as_calls_of_an_agent,
    responses_are_the_same_in_another_form,
    what_can_not_be_done_is_refused_once,
]

bootstrap()
for scenario in SCENARIOS:
    if sys.argv[3:] and scenario.__name__ not in sys.argv[3:]:
        continue
    scenario()
    print("ok", scenario.__name__, flush=True)  # noqa: T201 - the result of the program
