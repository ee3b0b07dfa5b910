"""Typed functions as tools: what a model is told of them, what it may give, what it gets."""

import json
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.testing.desk import Desk
from brainpilot_rt.tools.context import ToolContext
from brainpilot_rt.tools.functions import FunctionTool, tool
from brainpilot_rt.tools.registry import Registry, ToolOutput


class Place(BaseModel):
    """Where."""

    name: str
    metres: float = 0


class Colour(StrEnum):
    """Of a light."""

    RED = "red"


class Opaque:
    """No JSON."""


async def result(desk: Desk, made: FunctionTool[..., Any], **arguments: Any) -> ToolOutput:
    """What the tool says."""
    return await desk.use(Registry([made]), made.name, **arguments)


def test_name_description_and_schema_come_from_the_function():
    @tool(effect="pure", sequential=True)
    def light(
        place: Place,
        colour: Literal["white", "red"],
        hours: Annotated[int, Field(ge=1, description="How long.")] = 2,
        note: str | None = None,
    ) -> str:
        """Show a light

        somewhere.
        """
        return f"{place.name} {colour} {hours} {note}"

    assert (light.spec.name, light.spec.description) == ("light", "Show a light somewhere.")
    assert (light.spec.effect, light.spec.sequential) == (Effect.PURE, True)
    schema = light.spec.parameters
    assert schema["required"] == ["place", "colour"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["colour"] == {"enum": ["white", "red"], "type": "string"}
    assert schema["properties"]["hours"]["description"] == "How long."
    assert schema["properties"]["note"] == {"type": "string"}


def test_a_tool_is_still_its_function_and_irreversible_unless_told():
    @tool
    def add(one: int, other: int = 1) -> int:
        """Add."""
        return one + other

    assert add(2) == 3
    assert add.spec.effect is Effect.IRREVERSIBLE


async def test_the_context_is_given_and_never_shown(desk: Desk):
    @tool(name="whoami")
    async def who(context: ToolContext, greeting: str) -> str:
        """Say who calls."""
        return f"{greeting} {context.agent}"

    assert list(who.spec.parameters["properties"]) == ["greeting"]
    assert (await result(desk, who, greeting="hello")).content == "hello engineer"


async def test_arguments_reach_the_function_as_their_types(desk: Desk):
    @tool
    async def of(place: Place, colour: Colour, many: list[int], extra: dict[str, int]) -> str:
        """Look at the arguments."""
        assert isinstance(place, Place)
        return f"{place.metres} {colour.name} {sum(many)} {extra}"

    said = await result(desk, of, place={"name": "x"}, colour="red", many=[1, 2], extra={"a": 1})
    assert said.content == "0 RED 3 {'a': 1}"


def test_arguments_that_do_not_fit_are_refused_before_the_function_is_called():
    @tool
    async def of(number: int) -> str:
        """Take a number."""
        raise AssertionError(number)

    for wrong in ({}, {"number": "x"}, {"number": 1, "other": 2}):
        with pytest.raises(ValidationError):
            of.arguments.model_validate(wrong)


async def test_results_that_are_no_text_are_json(desk: Desk):
    @tool
    async def places() -> list[Place]:
        """All."""
        return [Place(name="Tarn 岩", metres=3.5)]

    @tool
    async def nothing() -> None:
        """Do it."""

    @tool
    async def whole() -> ToolOutput:
        """Say it."""
        return ToolOutput("no", failed=True)

    said = (await result(desk, places)).content
    assert json.loads(said) == [{"name": "Tarn 岩", "metres": 3.5}]
    assert "岩" in said
    assert (await result(desk, nothing)).content == "done"
    assert (await result(desk, whole)).failed


async def test_a_value_error_is_a_failure_in_its_own_words(desk: Desk):
    @tool
    async def fails(day: int) -> str:
        """Fail."""
        raise ValueError(f"there is no day {day}")

    assert await result(desk, fails, day=32) == ToolOutput("there is no day 32", failed=True)


@pytest.mark.realtime
async def test_a_blocking_function_runs_on_a_thread_and_ends_whatever_it_raises(desk: Desk):
    @tool
    def slow(word: str) -> dict[str, str]:
        """Block."""
        return {"word": word}

    @tool
    def wrong() -> str:
        """Fail."""
        raise ValueError("not today")

    empty: Iterator[str] = iter(())

    @tool
    def careless() -> str:
        """Let an iterator end."""
        return next(empty)

    assert (await result(desk, slow, word="x")).content == '{"word":"x"}'
    assert (await result(desk, wrong)) == ToolOutput("not today", failed=True)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await result(desk, careless)


def test_a_method_is_a_tool_with_its_object_inside(desk: Desk):
    class Store:
        def __init__(self) -> None:
            self.sold = 0

        def sell(self, pieces: int) -> int:
            """Sell some."""
            self.sold += pieces
            return self.sold

    store = Store()
    selling = tool(store.sell)
    assert list(selling.spec.parameters["properties"]) == ["pieces"]
    assert (selling(2), store.sold) == (2, 2)


def annotated(**annotations: Any) -> Callable[[str], str]:
    """A function of a word, with these annotations instead of its own."""

    def of(word: str) -> str:
        """Say the word."""
        return word

    of.__annotations__ = annotations
    return of


def _many(*words: str) -> str:
    """Take any number."""
    return " ".join(words)


def _options(**words: str) -> str:
    """Take any name."""
    return " ".join(words)


def _by_place(word: str, /) -> str:
    """Take it by its place."""
    return word


def _silent(word: str) -> str:
    return word


def _opaque(thing: Opaque) -> str:
    """Take what no JSON is."""
    return str(thing)


def _opaque_result(word: str) -> Opaque:
    """Give what no JSON is."""
    del word
    return Opaque()


def _late_context(word: str, context: ToolContext) -> str:
    """The context comes last."""
    return f"{word} {context.agent}"


def _taken(json: str) -> str:
    """Its parameter is pydantic's."""
    return json


def _hidden(_word: str) -> str:
    """Its parameter is private."""
    return _word


def _bad_default(place: str = Opaque()) -> str:  # pyright: ignore[reportArgumentType]
    """Its default is no JSON."""
    return place


def _counting(upto: int) -> Iterator[int]:
    """Give many results."""
    yield from range(upto)


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (annotated(**{"return": str}), "parameter 'word' has no type"),
        (_many, "arguments are given by name"),
        (_options, "arguments are given by name"),
        (_by_place, "arguments are given by name"),
        (_silent, "it has no docstring"),
        (annotated(word=str), "it does not say what it returns"),
        (_opaque, "Opaque"),
        (_opaque_result, "Opaque"),
        (_late_context, "must be its first parameter"),
        (_taken, "'json' needs another name"),
        (_hidden, "'_word' needs another name"),
        (_bad_default, "not JSON serializable"),
        (_counting, "a generator has no single result"),
        (annotated(word="Nowhere", **{"return": str}), "Nowhere"),
        (lambda: "", "its name does not match"),
        (Opaque, "it is not a function"),
    ],
)
def test_what_can_not_be_a_tool_is_told_where_it_is_decorated(function: Any, why: str):
    with pytest.raises(TypeError, match="can not be a tool: .*" + why):
        tool(function)
