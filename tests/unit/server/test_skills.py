"""GET /sessions/{id}/skills."""

from pathlib import Path

from tests.unit.server.world import SESSION, Script, serving

SKILL = "---\nname: plot\ndescription: Draws charts\nallowed-tools: bash\n---\nDo it.\n"


async def test_the_skills_of_a_session_are_shown_with_their_problems(tmp_path: Path):
    for name in ("plot", "draw", "broken"):
        folder = tmp_path / SESSION / ".agents" / "skills" / name
        folder.mkdir(parents=True)
        (folder / "SKILL.md").write_text("" if name == "broken" else SKILL)
    async with serving(folder=tmp_path) as server:
        await Script(server.backend).begin()
        answer = await server.client.get(f"/sessions/{SESSION}/skills")
    assert answer.status_code == 200
    plot, broken, draw = answer.json()["skills"]
    assert broken["broken"]
    assert broken["problems"] == ["it does not begin with front matter: make '---' the first line"]
    assert draw["problems"] == [
        "the name 'plot' is not that of the folder 'draw': rename one of them"
    ]
    assert (draw["name"], draw["hiddenBy"]) == ("plot", ".agents/skills/plot")
    assert plot == {
        "name": "plot",
        "description": "Draws charts",
        "scope": "project",
        "path": ".agents/skills/plot",
        "problems": [],
        "broken": False,
        "hiddenBy": None,
        "license": "",
        "compatibility": "",
        "allowedTools": "bash",
        "metadata": {},
    }


async def test_a_session_that_is_not_there_has_no_skills():
    async with serving() as server:
        answer = await server.client.get("/sessions/nobody/skills")
    assert answer.status_code == 404
