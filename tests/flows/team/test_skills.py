"""Skills: a run is told which fit, reads one, and a broken one is told to the user once."""

from pathlib import Path

import pytest

from brainpilot_rt.domain import events as ev
from brainpilot_rt.testing.models import Call, ScriptedModel
from brainpilot_rt.testing.shelf import shelf
from brainpilot_rt.testing.team import SESSION, Setup, team
from brainpilot_rt.tools.skills import skill_tool
from tests.flows.team.moves import memory_log

SKILL = "---\nname: plot\ndescription: Draws charts of data\n---\nUse thin lines.\n"
BROWSE = Call("skill_search", {"mode": "browse", "skill_name": "plot"})


@pytest.mark.requirement("skills")
async def test_a_skill_of_the_work_tree_is_offered_read_and_a_broken_one_told_once(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", BROWSE)
    model.say("principal", "One.")
    model.say("principal", "Two.")
    log = memory_log()
    setup = Setup(tools=[skill_tool(shelf())])
    async with team(log, model.stream, tmp_path, setup) as crew:
        await crew.create()
        tree = crew.organs.workspace(SESSION)
        tree.write(".agents/skills/plot/SKILL.md", SKILL.encode())
        tree.write(".agents/skills/bad/SKILL.md", b"Charts without front matter.")
        await crew.post("Please draw charts.")
        await crew.settled()
    async with team(log, model.stream, tmp_path, setup) as crew:
        await crew.post("Draw more charts.")
        await crew.settled()
        events = [one.event for one in await crew.events()]
    for request in model.requests:
        assert "- plot (of this work tree, untrusted): Draws charts of data" in request.system
        assert "bad" not in request.system.partition("[source SKILL")[2].partition("[end")[0]
    (read,) = [one for one in events if isinstance(one, ev.ToolFinished)]
    assert read.content.startswith("[This skill lies in the work tree:")
    assert "Use thin lines." in read.content
    (notice,) = [one for one in events if isinstance(one, ev.NoticePosted)]
    assert (notice.code, notice.level) == ("skill_invalid", "warning")
