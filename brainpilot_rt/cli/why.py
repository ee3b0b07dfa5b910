"""`why` and `trace`: what led to an answer, a letter or a file, told as an explanation.

The daemon gives the chain of causes (`/sessions/{id}/trace/causes`); here it is put into words: the
question, who was asked and by whom, what they looked at and wrote, which lines are cited, and what
each part cost.
"""

from collections import defaultdict
from pathlib import Path
from textwrap import wrap
from typing import Any, Final

import click

from brainpilot_rt.cli.ask import chosen_session
from brainpilot_rt.cli.client import as_object, as_objects, session_path
from brainpilot_rt.cli.options import Common, json_option, of_daemon, print_json
from brainpilot_rt.cli.terminal import clean, clean_line, fit, line_chars, told

_TEXT_CHARS: Final = 400
_THOUGHTS: Final = ("intent", "plan", "retrieval", "gap", "memory", "finding", "question")
_SESSION_HELP: Final = "The session; by default the one used last."


@click.command("why")
@click.argument("what", default="latest", metavar="[WHAT]")
@click.option("--session", help=_SESSION_HELP)
@json_option
@of_daemon
def why_command(common: Common, what: str, session: str | None, as_json: bool) -> None:  # noqa: FBT001 - by name
    """Explain WHAT: an answer (the last one by default), a letter, a run, a file or a citation.

    WHAT is an id, a path in the workspace, or a citation as path:first-last.
    """
    client = common.client()
    chosen = chosen_session(client, session)
    found = as_object(client.call("GET", session_path(chosen, "/trace/causes", of=what)))
    if as_json:
        print_json(found)
    else:
        for line in explained(found):
            click.echo(line)


@click.command("trace")
@click.option("--session", help=_SESSION_HELP)
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Draw it to a file.")
@json_option
@of_daemon
def trace_command(common: Common, session: str | None, svg: Path | None, as_json: bool) -> None:  # noqa: FBT001 - by name
    """Show the reasoning graph of a session, and who waits for whom; --svg draws the causes."""
    client = common.client()
    chosen = chosen_session(client, session)
    if svg is not None:
        path = session_path(chosen, "/trace/causes", format="svg")
        svg.write_text("\n".join(client.lines(path)) + "\n", encoding="utf-8")
        common.screen().say(f"drawn to {clean(str(svg))}")
        return
    graph = as_object(client.call("GET", session_path(chosen, "/trace")))
    causes = as_object(client.call("GET", session_path(chosen, "/trace/causes", limit="1")))
    if as_json:
        print_json({"graph": graph, "waits": causes.get("waits"), "spent": causes.get("spent")})
        return
    for line in reasoning(graph, causes):
        click.echo(line)


def reasoning(graph: dict[str, Any], causes: dict[str, Any]) -> list[str]:
    """The lines that show a reasoning graph, who waits for whom, and what all of it cost."""
    nodes = as_objects(graph.get("nodes"))
    lines = [line for node in nodes for line in _step(node)] or ["Nothing was asked yet."]
    if nodes and as_object(nodes[0].get("metadata")).get("derived"):
        lines.insert(0, "No agent recorded a step; these are told from what happened:")
    for one in as_objects(causes.get("waits")):
        said = f"{one.get('waiting')} waits for {one.get('waited_for')}: {one.get('title')}"
        lines.append(told(said, 0))
    if causes.get("circle"):
        lines.append(told(f"in a circle: {', '.join(map(str, causes['circle']))}", 0))
    return [*lines, *_costs(as_object(causes.get("spent")))]


def _step(node: dict[str, Any]) -> list[str]:
    of = f" of {clean_line(str(node['agent']), 20)}" if node.get("agent") else ""
    kind, status = (clean_line(str(node.get(one)), 20) for one in ("type", "status"))
    facts = f"  ({kind}{of}, {status})"
    lines = [clean_line(str(node.get("title")), line_chars() - len(facts)) + facts]
    if node.get("summary"):
        lines.append(told(str(node["summary"]), 4))
    for edge in as_objects(node.get("parents")):
        if edge.get("relation") != "follows":
            relation = str(edge.get("relation")).replace("_", " ")
            why = f": {edge['explanation']}" if edge.get("explanation") else ""
            lines.append(told(f"{relation} {edge.get('id')}{why}", 4))
    files = ", ".join(str(one.get("path")) for one in as_objects(node.get("artifacts")))
    return [*lines, told(f"files: {files}", 4)] if files else lines


def _wrapped(text: str, head: str) -> list[str]:
    """All of a text, each line after this head."""
    lines = clean(text).strip().split("\n")
    room = line_chars() - len(head)
    return [head + part for line in lines for part in wrap(line, room) or [""]]


# --- the explanation -------------------------------------------------------------------------


def explained(found: dict[str, Any]) -> list[str]:
    """The lines that explain one chain of causes, as the daemon gives it."""
    nodes = as_objects(found.get("nodes"))
    if not nodes:
        return ["Nothing led to it."]
    causes: defaultdict[str, list[str]] = defaultdict(list)
    for edge in as_objects(found.get("edges")):
        causes[str(edge.get("to"))].append(str(edge.get("from")))
    lines = _subject(nodes[-1])
    if found.get("left_out"):
        lines.append(f"(the oldest {found['left_out']} things of this session are left out)")
    lines += _questions(nodes)
    lines += _runs(nodes, causes)
    lines += _evidence(nodes)
    uses = as_objects(found.get("used_by"))
    if uses:
        lines += ["", "Used by"]
        lines += [told(f"{one.get('kind')} {one.get('label')}") for one in uses]
    lines += ["", *_costs(as_object(found.get("spent")))]
    if nodes[-1].get("kind") == "answer":
        cost = nodes[-1].get("host_turn_cost_usd")
        tokens = int(nodes[-1].get("host_turn_tokens") or 0)
        whole = f"{tokens:>10,} tokens  {_money(None if cost is None else float(cost))}"
        lines.append(f"  {'all work on the question':28} {whole}")
    return lines


def _subject(node: dict[str, Any]) -> list[str]:
    kind, label = str(node.get("kind")), str(node.get("label"))
    status = f" ({clean_line(str(node['status']))})" if node.get("status") else ""
    if kind != "answer":
        return [clean_line(f"Why {kind} {label}", line_chars() - len(status)) + status]
    text = str(node.get("text") or label).strip()
    shown = text if len(text) <= _TEXT_CHARS else text[:_TEXT_CHARS] + "…"
    lines = [f"Why this answer{status}", *_wrapped(shown, "  | ")]
    if node.get("unverified_citations"):
        lines.append(f"  {node['unverified_citations']} of its citations could not be verified.")
    return lines


def _questions(nodes: list[dict[str, Any]]) -> list[str]:
    asked = [one for one in nodes if one.get("kind") == "letter" and one.get("from") == "user"]
    if not asked:
        return []
    said = [f"the user asked {one['to']}: {one.get('text')}" for one in asked]
    short = [clean_line(one, _TEXT_CHARS) for one in said]
    return ["", "Question", *(line for one in short for line in _wrapped(one, "  "))]


def _runs(nodes: list[dict[str, Any]], causes: dict[str, list[str]]) -> list[str]:
    """Every run that had a part in it: who caused it, what it thought, did and sent."""
    by_id = {str(one.get("id")): one for one in nodes}
    parts: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for node in nodes:
        if node.get("run_id"):
            parts[str(node["run_id"])].append(node)
    runs = [one for one in nodes if one.get("kind") == "run"]
    lines = ["", "Who did what"] if runs else []
    for number, run in enumerate(runs, 1):
        mine = parts[str(run.get("run_id"))]
        starters = [by_id[one] for one in causes[str(run.get("id"))] if one in by_id]
        because = ", ".join(f"a letter of {one['from']}" for one in starters if one.get("from"))
        status = "" if run.get("status") == "completed" else f", {run.get('status')}"
        head = f"{run.get('agent')}, because of {because or 'an earlier run'}{status}"
        lines.append(fit(f"{number:3}. {clean_line(head)}"))
        lines += [told(line, 7) for line in _deeds(mine)]
        lines.append(told(_paid(mine), 7))
    return lines


def _deeds(nodes: list[dict[str, Any]]) -> list[str]:
    said: list[str] = []
    for node in nodes:
        failed = (
            "" if node.get("status") in {"completed", "planned"} else f" ({node.get('status')})"
        )
        match node.get("kind"):
            case "call" if node.get("tool") != "send_message":
                said.append(f"{node.get('tool')} {node.get('arguments')}{failed}")
            case "letter":
                said.append(f"wrote to {node.get('to')}: {node.get('text')}")
            case kind if kind in _THOUGHTS:
                said.append(str(node.get("label")))
            case _:
                pass
    return said


def _paid(nodes: list[dict[str, Any]]) -> str:
    paid = [one for one in nodes if one.get("usage")]
    tokens = sum(int(as_object(one["usage"]).get("total") or 0) for one in paid)
    costs = [one.get("cost_usd") for one in paid]
    known = None if None in costs else sum(float(str(one)) for one in costs)
    models = ", ".join(dict.fromkeys(str(one.get("model")) for one in paid))
    return f"{_calls(len(paid))}, {tokens:,} tokens, {_money(known)}  {models}"


def _evidence(nodes: list[dict[str, Any]]) -> list[str]:
    cited = [one for one in nodes if one.get("kind") == "citation"]
    files = [one for one in nodes if one.get("kind") == "file"]
    lines = ["", "Lines cited"] if cited else []
    for one in cited:
        status = str(one.get("status") or "not checked")
        lines.append(told(f"{one.get('label')} ({status})"))
        lines.append(told(str(one.get("text")), 6))
    lines += ["", "Files"] if files else []
    for one in files:
        made = f"version {one.get('version')}, written by {one.get('agent')}"
        origin = made if one.get("written") else "as it was found"
        lines.append(told(f"{one.get('path')} ({origin})"))
    return lines


def _costs(spent: dict[str, Any]) -> list[str]:
    total = as_object(spent.get("total"))
    lines = ["Cost"]
    for name in ("by_agent", "by_model"):
        for one, sums in as_object(spent.get(name)).items():
            lines.append(f"  {clean_line(one, 28):28} {_sum(as_object(sums))}")
    return [*lines, f"  {'together':28} {_sum(total)}"]


def _sum(sums: dict[str, Any]) -> str:
    tokens = int(as_object(sums.get("usage")).get("total") or 0)
    cost = sums.get("cost_usd")
    money = _money(None if cost is None else float(cost))
    return f"{tokens:>10,} tokens  {money}  ({_calls(int(sums.get('model_calls') or 0))})"


def _calls(count: int) -> str:
    return f"{count} model call{'' if count == 1 else 's'}"


def _money(cost: float | None) -> str:
    return "cost unknown" if cost is None else f"${cost:.4f}"
