"""Parts of a system prompt: who the agent is, its team, its tasks."""

from brainpilot_rt.context.sections import (
    Member,
    OpenTask,
    Surroundings,
    identity,
    joined,
    place,
)
from brainpilot_rt.domain.ids import AgentName, TaskId
from brainpilot_rt.domain.phases import AgentPhase


def test_a_prompt_says_who_is_there_and_what_is_owed():
    around = Surroundings(
        agent=AgentName("librarian"),
        team=(
            Member(AgentName("principal"), "principal", AgentPhase.RUNNING),
            Member(AgentName("librarian"), "librarian", AgentPhase.RUNNING),
            Member(AgentName("geologist"), "expert", AgentPhase.IDLE),
            Member(AgentName("cron"), "expert", AgentPhase.IDLE, "external", "Runs\nat night."),
        ),
        holds=(OpenTask(TaskId("task_1"), AgentName("principal"), "Find  the\ncause"),),
        waits=(OpenTask(TaskId("task_2"), AgentName("cron"), "Count"),),
        workspace="Files: 12 texts.",
    )
    assert joined([identity("You are X.\n", around.agent), place(around), "[Turn 1/2]"]) == (
        "You are X.\n\n"
        'You are "librarian".\n\n'
        "The team:\n"
        "- principal (running)\n"
        "- librarian (you)\n"
        "- geologist (expert, idle)\n"
        "- cron (expert, external, idle): Runs at night.\n\n"
        "Tasks you hold; deliver each with send_message, msg_type result_deliver and its id:\n"
        "- task_1 for principal: Find the cause\n\n"
        "Tasks you wait for; their results come as letters:\n"
        "- task_2 with cron: Count\n\n"
        "Files: 12 texts.\n\n"
        "[Turn 1/2]"
    )


def test_what_is_empty_is_left_out():
    around = Surroundings(agent=AgentName("writer"))
    assert joined([identity("Persona", around.agent), place(around)]) == (
        'Persona\n\nYou are "writer".'
    )


def test_long_lists_and_long_titles_are_bounded():
    tasks = [OpenTask(TaskId(f"task_{n}"), AgentName("a"), "x" * 999) for n in range(100)]
    around = Surroundings(agent=AgentName("writer"), waits=tasks)
    lines = place(around).splitlines()
    assert lines[-1] == "- and 60 more"
    assert max(map(len, lines)) < 200
