"""What the flows of a team must do, and where that is promised.

Every flow test names the requirements it proves with `@pytest.mark.requirement(id)`;
`test_manifest.py` holds both directions.
"""

from collections.abc import Mapping
from typing import Final

REQUIREMENTS: Final[Mapping[str, str]] = {
    "crash-nothing-lost": (
        "A crash leaves no text, call or run open, and loses or doubles no letter, task, "
        "reply or turn (promise 1, D8, I-1, I-2, I-12)."
    ),
    "crash-effects": (
        "A call cut by a crash or stop is repeated or not by its class (D7, I-6, H13)."
    ),
    "crash-repair": (
        "Repair is idempotent and bounded; what crashes every time is buried (I-15, B11)."
    ),
    "restart-continues": (
        "A restart keeps mail, retries, stops and attempts as they were (section 8)."
    ),
    "questions-durable": "Questions stay open across restarts; the first answer wins (D21).",
    "questions-typed": "What the user types answers the question that is shown (wire section 3).",
    "stop-fence": (
        "A stop raises the fence first, answers when idle, keeps letters until the user "
        "speaks (D9, lessons 8, 15-21)."
    ),
    "stop-single": "Stopping twice, or nothing, is said and harmless (lessons 22, 30).",
    "agent-destroy": "A destroyed agent ends with its mail and creditors told (B10, lesson 7).",
    "session-evict": "An evicted session forgets nothing and is revived by use (wire section 3).",
    "session-delete": "Nothing of a deleted session comes back (wire section 3).",
    "retry": (
        "A fault that may pass is tried again with growing pauses, others are told (lesson 34)."
    ),
    "log-trouble": (
        "Trouble with the log acknowledges nothing, loses nothing, repeats nothing (I-18)."
    ),
    "idempotency": "A request repeated under its key changes nothing twice (guarantee matrix).",
    "host-turn": "A host turn ends exactly once, and not while a task is open (D10, lesson 13).",
    "task-terminal": (
        "Every task ends with exactly one terminal letter; silence is reminded of once "
        "(lessons 5-7, J3)."
    ),
    "task-identity": "A task is delivered once, by its holder, to its creator (lessons 5, 10).",
    "chain-caps": "Runaway chains end at their caps, loudly and once (D11, I-11, J1).",
    "mail-pressure": "Results always fit; only new work is refused (I-9, B18, lesson 9).",
    "mail-foreign": "Foreign letters are accepted once and never believed (section 5, A19).",
    "mail-expiry": "A letter whose time has passed expires, and whoever waits is told (B12).",
    "mail-files": "Files follow the log, whatever happens to them (section 4, I-13, A17).",
    "external-agents": "Another process is a member of the team by files alone (section 5).",
    "recipients": "A letter goes to somebody who exists, or its sender is told (section 5, B15).",
    "trust": "What strangers say stays untrusted wherever it travels, and gives no rights (S14).",
    "causes": (
        "Every answer leads back to its question, through letters, runs, calls and files, "
        "and each paid call is counted once."
    ),
    "trace": "What agents record becomes nodes of the reasoning graph, each step once.",
    "steer": (
        "A message during a run joins at the next boundary and is echoed then (B8, lesson 36)."
    ),
    "intent": (
        "What a message wants is said with how sure and why; a classifier in trouble is "
        "replaced by rules (turn-loop 1.4)."
    ),
    "programs": "Each intent has its program, and none goes on for ever (turn-loop 1.4, D6).",
    "plan-resume": "A plan goes on in its open step after any crash (D8).",
    "evidence": (
        "A claim is shown as verified only when its quote stands in the cited lines; without "
        "evidence there is a typed refusal (turn-loop 1.4)."
    ),
    "gates": (
        "Breakers, repeats and counts refuse a call before it runs (turn-loop 1.5), and say so."
    ),
    "run-told": "The span and the summary of a run are its last events, in that order.",
    "memory": (
        "What a team remembers outlives its agents and restarts, within the budgets and "
        "policies of its sections (turn-loop 1.3)."
    ),
    "context": (
        "Each turn is assembled anew from live files and rows, and can be shown (agent-runs 3.7)."
    ),
    "compaction": "A compaction frees room as measured, or stops with a typed error, no loop.",
    "skills": "Skills are found, read in steps, and a broken one is said to be broken.",
    "routing": (
        "Each turn's model is chosen and said; a failing one is replaced, a pinned one never (D19)."
    ),
    "budgets": (
        "Nothing starts under a budget that is used up, the crossing turn is paid for, and a "
        "delegation spends of its sender's (D20)."
    ),
    "guardrails": "What goes in and comes out is checked before anybody hears it (agent-runs 3.4).",
    "approvals": "A call that needs a word waits for it durably; the first one counts (D21).",
    "mcp": (
        "Tools of MCP servers run under our rules, as they were when they were approved, and a "
        "server that fails concerns its own tools alone (H1 to H9)."
    ),
}
