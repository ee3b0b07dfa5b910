"""Rules that change while a run is at work count for what it does next; verdicts hold on."""

from pathlib import Path

import pytest

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.messages import UserMessage
from brainpilot_rt.settings import GuardSettings
from brainpilot_rt.testing.models import Call, Gate, ScriptedModel
from brainpilot_rt.testing.team import Setup, Team, team
from tests.flows.team.moves import memory_log


async def endings(crew: Team) -> list[tuple[str, str]]:
    return [
        (one.event.status, one.event.content)
        for one in await crew.events()
        if isinstance(one.event, ev.ToolFinished)
    ]


@pytest.mark.requirement("guardrails")
async def test_a_rule_counts_for_the_next_call_of_a_run_at_work_and_so_does_its_end(tmp_path: Path):
    model = ScriptedModel()
    between = [Gate(), Gate(), Gate()]
    model.say("principal", Call("recall", {"query": "first"}))
    for gate, query in zip(between, ("second", "third", "fourth"), strict=True):
        model.say("principal", gate, Call("recall", {"query": query}))
    model.say("principal", "Done.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        governor = crew.organs.governing.governor
        await crew.create()
        await crew.post("Go.")
        await between[0].reached.wait()
        await governor.set_policy({"tool_name": "recall", "allowed": False})
        between[0].open()
        await between[1].reached.wait()
        await governor.set_policy({"tool_name": "recall"})
        between[1].open()
        await between[2].reached.wait()
        await governor.set_firewall({"denyList": ["rec*"]})
        between[2].open()
        await crew.settled()
        assert [status for status, _ in await endings(crew)] == [
            "completed",
            "refused",
            "completed",
            "refused",
        ]


@pytest.mark.requirement("guardrails")
async def test_a_model_never_reads_what_was_redacted_in_an_earlier_turn_or_run(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", Call("recall", {"query": "x"}))
    model.say("principal", "Done.")
    model.say("principal", "Done again.")
    setup = Setup(guard=GuardSettings(mode="redact"))
    async with team(memory_log(), model.stream, tmp_path, setup) as crew:
        await crew.create()
        await crew.post("My password is hunter2Zx9!kk, look it up.")
        await crew.settled()
        await crew.post("And now?")
        await crew.settled()
        said = [
            one.text
            for request in model.requests
            for one in request.messages
            if isinstance(one, UserMessage)
        ]
        assert len(model.requests) == 3
        assert [text for text in said if "REDACTED:secret" in text] == [said[0]] * 3
        assert not any("hunter2" in text for text in said)
        fired = [one for one in await crew.events() if isinstance(one.event, ev.GuardrailFired)]
        assert len(fired) == 1
