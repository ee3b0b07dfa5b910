"""`memory`: what a session remembers, by section and by words; add to it, and forget."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import click

from brainpilot_rt.cli.ask import chosen_session
from brainpilot_rt.cli.client import Client, as_object, as_objects, session_path
from brainpilot_rt.cli.options import (
    Common,
    json_option,
    list_or_go_on,
    of_daemon,
    print_json,
    with_daemon,
    with_talk,
)
from brainpilot_rt.cli.terminal import clean, fit, told

session_option = click.option("--session", help="By default the session changed last.")
agent_option = click.option("--agent", help="Of a section that each agent has: whose.")


@click.group("memory", invoke_without_command=True)
@session_option
@json_option
@with_daemon
@with_talk
@click.pass_context
def memory_command(ctx: click.Context, session: str | None, as_json: bool) -> None:  # noqa: FBT001 - by name
    """Without a command: list the sections of a session's memory."""
    list_or_go_on(ctx, list_sections, session=session, as_json=as_json)


@memory_command.command("list")
@session_option
@json_option
@of_daemon
def list_sections(common: Common, session: str | None, as_json: bool) -> None:  # noqa: FBT001 - by name
    """List the sections: how much is in each, and how much may be.

    What is derived is made from what happens: nobody can add to it.
    """
    client = common.client()
    sections = as_objects(_get(client, session, "/memory").get("sections"))
    if as_json:
        print_json(sections)
        return
    for line in section_lines(sections):
        click.echo(line)


@memory_command.command("show")
@click.argument("section")
@session_option
@agent_option
@click.option("--limit", default=100, show_default=True, help="Newest items wanted.")
@json_option
@of_daemon
def show_section(
    common: Common,
    *,
    section: str,
    session: str | None,
    agent: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Show the items of SECTION, the newest at the end."""
    client = common.client()
    query = {"limit": str(limit), **({"agent": agent} if agent else {})}
    found = _get(client, session, f"/memory/{quote(section, safe='')}", **query)
    _print(as_objects(found.get("list")), as_json=as_json)


@memory_command.command("search")
@click.argument("words", nargs=-1, required=True)
@session_option
@agent_option
@click.option("--section", help="Only this section.")
@click.option("--top", default=10, show_default=True, help="Items wanted.")
@json_option
@of_daemon
def search_memory(  # noqa: PLR0913 - one per option, which click gives by name
    common: Common,
    *,
    words: tuple[str, ...],
    session: str | None,
    agent: str | None,
    section: str | None,
    top: int,
    as_json: bool,
) -> None:
    """Find the items that fit WORDS best, the best first."""
    client = common.client()
    asked = {"query": " ".join(words), "top_k": str(top), "agent": agent, "section": section}
    given = {name: value for name, value in asked.items() if value}
    found = _get(client, session, "/memory/search", **given)
    _print(as_objects(found.get("list")), as_json=as_json)


@memory_command.command("add")
@click.argument("section")
@click.argument("text")
@session_option
@agent_option
@click.option("--pinned", is_flag=True, help="Shown first and never evicted.")
@click.option("--block", help="Of a fact: human, system, project or general.")
@click.option("--tag", "tags", multiple=True, help="A word to find it by; may be repeated.")
@json_option
@of_daemon
def add_item(common: Common, *, session: str | None, as_json: bool, **fields: Any) -> None:
    """Remember TEXT in SECTION."""
    client = common.client()
    body = {name: value for name, value in fields.items() if value}
    body["content"] = body.pop("text", "")
    item = as_object(client.call("POST", _path(client, session, "/memory"), body))
    if as_json:
        print_json(item)
    else:
        click.echo(clean(str(item.get("id"))))


@memory_command.command("forget")
@click.argument("item")
@session_option
@of_daemon
def forget_item(common: Common, item: str, session: str | None) -> None:
    """Take the item with the id ITEM out of memory."""
    client = common.client()
    client.call("DELETE", _path(client, session, f"/memory/items/{quote(item, safe='')}"))
    common.screen().say("forgotten")


def _path(client: Client, session: str | None, rest: str, **query: str) -> str:
    return session_path(chosen_session(client, session), rest, **query)


def _get(client: Client, session: str | None, rest: str, **query: str) -> dict[str, Any]:
    return as_object(client.call("GET", _path(client, session, rest, **query)))


def _policy(section: dict[str, Any]) -> str:
    said = {"none": "full is full", "fifo": "oldest goes", "lru": "unused goes", "lifo": "one only"}
    words = [said.get(str(section.get("eviction")), "")]
    words += ["summarised"] if section.get("summarise") != "never" else []
    words += ["of each agent"] if section.get("of") == "agent" else []
    words += ["derived"] if section.get("derived") else []
    words += ["of one run"] if section.get("ephemeral") else []
    return ", ".join(words)


def _print(items: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(items)
        return
    for item in items:
        for line in item_lines(item):
            click.echo(line)


def section_lines(sections: list[dict[str, Any]]) -> Iterator[str]:
    """The sections as a table."""
    yield f"{'section':<16} {'items':>6} {'tokens':>9} {'budget':>6}  policy"
    for one in sections:
        items, tokens, budget = one.get("items"), one.get("tokens"), one.get("budget")
        most = "" if budget is None else f"{budget:,}"
        name = clean(str(one.get("section")))
        yield fit(f"{name:<16} {items:>6,} {tokens:>9,} {most:>6}  {_policy(one)}")


def item_lines(item: dict[str, Any]) -> Iterator[str]:
    """An item for a person: what is known of it, then its words."""
    finding = as_object(item.get("finding"))
    facts = [str(item.get("section")), f"by {item.get('agent')}"]
    facts += [str(item["block"])] if item.get("block") else []
    facts += ["pinned"] if item.get("pinned") else []
    facts += ["verified" if finding.get("verified") else "not verified"] if finding else []
    facts += [f"tags {', '.join(map(str, item['tags']))}"] if item.get("tags") else []
    facts += [f"score {item['score']:.2f}"] if "score" in item else []
    yield told(f"{item.get('id')}  {', '.join(facts)}", 0)
    yield told(str(item.get("content")))
