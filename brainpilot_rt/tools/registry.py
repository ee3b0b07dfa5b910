"""Tools by name: what is offered to a model, and the function behind each.

A tool is a value: its specification, the pydantic model of its arguments and one coroutine
function. The JSON Schema a model sees is made from the arguments model, without the noise (titles,
`null` alternatives of optional arguments) that costs tokens and says nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, TypeAlias, TypeVar, cast

from pydantic import BaseModel, ConfigDict

from brainpilot_rt.aiokit.tasks import finish_shielded
from brainpilot_rt.domain.tools import Effect, ToolSpec
from brainpilot_rt.tools.context import ToolContext

_THREADS: Final = ThreadPoolExecutor(max_workers=16, thread_name_prefix="tool")
"""Of every blocking tool; one pool per process, as the disks behind it are."""


class Arguments(BaseModel):
    """Base of every arguments model: an argument nobody knows is an error the model can mend."""

    model_config = ConfigDict(frozen=True, extra="forbid")


A = TypeVar("A", bound=Arguments)


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """What a tool has to say. `failed`: it ran and reports an error."""

    content: str
    failed: bool = False
    full_output_path: str | None = None
    """Logical path of the whole output when the tool itself has shortened `content`."""
    unknown: bool = False
    """It may have run; nobody knows (whoever was to run it was lost on the way)."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool. `run` gets an instance of `arguments`."""

    spec: ToolSpec
    arguments: type[Arguments]
    run: Callable[[ToolContext, Any], Awaitable[ToolOutput]]
    confirm: bool = field(default=False, kw_only=True)
    """Each call of it needs a person's word, whatever the owner's policies say."""

    @property
    def name(self) -> str:
        """The name a model calls it by."""
        return self.spec.name


ToolRun: TypeAlias = Callable[[ToolContext, A], Awaitable[ToolOutput]]


def tool(
    run: ToolRun[A], arguments: type[A], *, name: str, effect: Effect, sequential: bool = False
) -> Tool:
    """Make a tool; its description is the docstring of the arguments model."""
    spec = ToolSpec(
        name=name,
        description=" ".join((arguments.__doc__ or "").split()),
        parameters=schema_of(arguments),
        effect=effect,
        sequential=sequential,
    )
    return Tool(spec=spec, arguments=arguments, run=run)


def on_thread(run: Callable[[ToolContext, A], ToolOutput]) -> ToolRun[A]:
    """Make a blocking function a tool's `run`.

    A thread cannot be stopped: a cancelled call ends when the function has, so that nothing of it
    happens after its result. The threads are the tools' own: whoever hangs on a dead disk keeps
    neither mail nor the end of a process waiting (E10).
    """

    async def threaded(context: ToolContext, wanted: A) -> ToolOutput:
        loop = asyncio.get_running_loop()
        return await finish_shielded(loop.run_in_executor(_THREADS, run, context, wanted))

    return threaded


class Registry:
    """An immutable set of tools, in the order given. ValueError for a name given twice."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        listed = tuple(tools)
        self._tools: Mapping[str, Tool] = MappingProxyType({one.name: one for one in listed})
        if len(self._tools) != len(listed):
            raise ValueError("two tools have the same name")

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def __contains__(self, name: object) -> bool:
        return name in self._tools

    def get(self, name: str) -> Tool | None:
        """The tool of that name, if there is one."""
        return self._tools.get(name)

    def only(self, names: Iterable[str]) -> "Registry":
        """The tools among these that are named; a name without a tool is left out."""
        wanted = frozenset(names)
        return Registry(one for one in self if one.name in wanted)

    def specs(self) -> tuple[ToolSpec, ...]:
        """What a model is offered."""
        return tuple(one.spec for one in self)

    def effect(self, name: str) -> Effect:
        """What repeating a call of that name would do; nothing when there is no such tool."""
        found = self.get(name)
        return found.spec.effect if found else Effect.PURE


def schema_of(arguments: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of an arguments model, reduced to what a model needs."""
    schema = cast("dict[str, Any]", _reduced(arguments.model_json_schema()))
    schema.pop("description", None)
    return schema


def _reduced(node: Any) -> Any:
    if isinstance(node, list):
        return [_reduced(item) for item in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    schema = dict(cast("dict[str, Any]", node))
    if isinstance(schema.get("title"), str):
        del schema["title"]
    choices: list[Any] = schema.get("anyOf", [])
    real = [choice for choice in choices if choice != {"type": "null"}]
    if len(real) == 1:
        del schema["anyOf"]
        schema.update(real[0])
    elif real:
        schema["anyOf"] = real
    if schema.get("default", ...) is None:
        del schema["default"]
    properties: dict[str, Any] | None = schema.pop("properties", None)
    reduced = {key: _reduced(value) for key, value in schema.items()}
    if properties is not None:
        # A property may itself be called "title": only its value is a schema.
        reduced["properties"] = {key: _reduced(value) for key, value in properties.items()}
    return reduced
