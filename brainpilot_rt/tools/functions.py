"""`@tool`: a typed function becomes a tool.

The name and the description are those of the function, the JSON Schema comes from its signature,
and the function stays callable as it was. What can not be a tool is a `TypeError` where it is
decorated, not in the middle of a run. A blocking function runs on a thread of the tools; it can not
be stopped there, so a cancelled call ends when the function has returned.

    @tool(effect="pure")
    def area(width: float, height: Annotated[float, Field(gt=0)] = 1.0) -> float:
        "The area of a rectangle, in square metres."
        return width * height
"""

import inspect
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import (
    Any,
    Final,
    Generic,
    Literal,
    ParamSpec,
    TypeAlias,
    TypeVar,
    get_type_hints,
    overload,
)

from pydantic import PydanticUserError, TypeAdapter, create_model

from brainpilot_rt.domain.tools import Effect, ToolSpec
from brainpilot_rt.tools.context import ToolContext
from brainpilot_rt.tools.registry import (
    Arguments,
    Tool,
    ToolOutput,
    ToolRun,
    on_thread,
    schema_of,
)

P = ParamSpec("P")
R = TypeVar("R")

EffectName: TypeAlias = Effect | Literal["pure", "idempotent", "irreversible"]

_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]{0,63}")
"""What every model provider takes as the name of a tool."""
_NAMEABLE: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True, slots=True)
class FunctionTool(Tool, Generic[P, R]):
    """A tool made of a function; calling it calls the function, as if it were not decorated."""

    function: Callable[P, R]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself."""
        return self.function(*args, **kwargs)


@overload
def tool(function: Callable[P, R], /) -> FunctionTool[P, R]: ...
@overload
def tool(
    *, name: str | None = None, effect: EffectName = "irreversible", sequential: bool = False
) -> Callable[[Callable[P, R]], FunctionTool[P, R]]: ...
def tool(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    effect: EffectName = "irreversible",
    sequential: bool = False,
) -> FunctionTool[P, R] | Callable[[Callable[P, R]], FunctionTool[P, R]]:
    """Make a typed function a tool; TypeError says why it can not be one.

    A first parameter of type `ToolContext` gets the context of the call and is not shown to the
    model; to send letters or ask the user by it the function has to be async.

    A text or a `ToolOutput` is the result as it is, anything else its JSON. A `ValueError` the
    function raises is a failure whose words the model reads.

    Args:
        function: The function, when decorating without arguments.
        name: What the model calls it by; the function's own name unless given.
        effect: What repeating a call would do. After a crash a `pure` or `idempotent` call is run
            again; an `irreversible` one without a result is told as unknown, never run twice.
        sequential: True: never runs beside other calls of the same reply.
    """

    def made(function: Callable[P, R]) -> FunctionTool[P, R]:
        return _made(function, name, Effect(effect), sequential=sequential)

    return made if function is None else made(function)


def _made(
    function: Callable[P, R], name: str | None, effect: Effect, *, sequential: bool
) -> FunctionTool[P, R]:
    called = name or getattr(function, "__name__", repr(function))
    if not inspect.isroutine(function):
        raise _no_tool(called, "it is not a function")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise _no_tool(called, "a generator has no single result")
    if not _NAME.fullmatch(called):
        raise _no_tool(called, f"its name does not match {_NAME.pattern}")
    about = " ".join((inspect.getdoc(function) or "").split())
    if not about:
        raise _no_tool(called, "it has no docstring, which is all a model knows of it")
    try:
        hints = get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as unknown:
        raise _no_tool(called, str(unknown)) from None
    if "return" not in hints:
        raise _no_tool(called, "it does not say what it returns")
    parameters = list(inspect.signature(function).parameters.values())
    wants_context = bool(parameters) and hints.get(parameters[0].name) is ToolContext
    shown = parameters[1:] if wants_context else parameters
    fields: dict[str, Any] = {one.name: _field(called, one, hints) for one in shown}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            arguments: type[Arguments] = create_model(called, __base__=Arguments, **fields)
            schema = schema_of(arguments)
            result: TypeAdapter[Any] = TypeAdapter(hints["return"])
            result.json_schema(mode="serialization")
        except (PydanticUserError, NameError, Warning) as wrong:
            why = str(wrong).partition("\n")[0].partition(". Set `arbitrary")[0]
            raise _no_tool(called, why) from None
    spec = ToolSpec(
        name=called, description=about, parameters=schema, effect=effect, sequential=sequential
    )
    context_name = parameters[0].name if wants_context else None
    run = _run(function, context_name, result)
    return FunctionTool(spec=spec, arguments=arguments, run=run, function=function)


def _field(called: str, parameter: inspect.Parameter, hints: dict[str, Any]) -> tuple[Any, Any]:
    """(type, default) of one argument, as pydantic takes them."""
    name = parameter.name
    if parameter.kind not in _NAMEABLE:
        raise _no_tool(called, f"a model can not fill {parameter}: arguments are given by name")
    if name not in hints:
        raise _no_tool(called, f"parameter {name!r} has no type")
    if hints[name] is ToolContext:
        raise _no_tool(called, f"{name!r} must be its first parameter to get the context")
    if name.startswith("_") or hasattr(Arguments, name):
        raise _no_tool(called, f"parameter {name!r} needs another name: pydantic keeps this one")
    empty = parameter.default is inspect.Parameter.empty
    return hints[name], ... if empty else parameter.default


def _run(
    function: Callable[..., Any], context_name: str | None, result: TypeAdapter[Any]
) -> ToolRun[Arguments]:
    def called(context: ToolContext, wanted: Arguments) -> Any:
        values = {name: getattr(wanted, name) for name in type(wanted).model_fields}
        return function(**values, **({context_name: context} if context_name else {}))

    async def awaited(context: ToolContext, wanted: Arguments) -> ToolOutput:
        try:
            return _output(await called(context, wanted), result)
        except ValueError as wrong:
            return ToolOutput(str(wrong), failed=True)

    def blocking(context: ToolContext, wanted: Arguments) -> ToolOutput:
        try:
            return _output(called(context, wanted), result)
        except ValueError as wrong:
            return ToolOutput(str(wrong), failed=True)
        except StopIteration as ended:  # a future can not hold it: the call would never end
            raise RuntimeError("the function let StopIteration out") from ended

    return awaited if inspect.iscoroutinefunction(function) else on_thread(blocking)


def _output(value: Any, result: TypeAdapter[Any]) -> ToolOutput:
    if isinstance(value, ToolOutput):
        return value
    if isinstance(value, str):
        return ToolOutput(str(value))
    if value is None:
        return ToolOutput("done")
    return ToolOutput(result.dump_json(value, warnings=False).decode())


def _no_tool(name: str, why: str) -> TypeError:
    return TypeError(f"{name} can not be a tool: {why}")
