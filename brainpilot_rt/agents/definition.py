"""What an agent is, as a value, and how one is made for a context.

`define_agent` describes a stateless agent: model, system prompt, names of its tools, limits.
History belongs to the host. A `Profile` is the factory the host calls at the start of each run with
a `RequestContext`, so that a change of settings counts from the next run on and never in the middle
of one.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Protocol, runtime_checkable

from pydantic import ConfigDict, Field

from brainpilot_rt.domain.events import Thinking
from brainpilot_rt.domain.ids import NAME, AgentName, SessionId
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.domain.thinking import ProgramName
from brainpilot_rt.domain.values import Value

FINAL_TURN_TEXT: Final = (
    "This is your last turn and no tools are available in it. Answer now with what you have: say "
    "what is done, what is missing and why."
)
"""Default of `max_turns_message`."""

_MODEL_KEYS: Final = frozenset({"provider", "model", "model_id", "modelId"})


@runtime_checkable
class OwnTool(Protocol):
    """A tool an agent brings along. Here it is known by its name alone; `tools` knows the rest."""

    @property
    def name(self) -> str:
        """What the model calls it by."""
        ...


class AgentDefinition(Value):
    """A complete, checked description of an agent."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    id: Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
    name: str
    """For people."""
    role: str
    """What the rest of the daemon decides by: `principal`, `librarian`, ..., `expert`."""
    model: ModelRef | None = None
    """None: what the daemon's default profile says."""
    system: str
    tools: tuple[str, ...] = ()
    """Names; what is really offered is decided per turn by the host."""
    brings: tuple[OwnTool, ...] = ()
    """Those of the named tools that exist for this agent only."""
    asks: frozenset[str] = frozenset()
    """Those of the named tools whose every call needs a person's word."""
    description: str = ""
    """What the team is told of it, in a sentence."""
    max_turns: Annotated[int | None, Field(ge=1)] = None
    """Model calls per run; the last one is forced to answer. None: no limit, no marker."""
    max_turns_message: str = FINAL_TURN_TEXT
    max_tokens: Annotated[int | None, Field(ge=1)] = None
    """Output tokens per model call."""
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    thinking_enabled: bool = False
    programs: tuple[ProgramName, ...] = ("react",)
    """How the agent may work; with one program nothing is classified."""

    def is_final(self, turn: int) -> bool:
        """True for the forced turn: number `max_turns`, counted from one."""
        return self.max_turns is not None and turn + 1 >= self.max_turns

    def marker(self, turn: int, *, final: bool) -> str:
        """What ends the system prompt of `turn` (counted from 0)."""
        if final:
            return self.max_turns_message
        return f"[Turn {turn + 1}/{self.max_turns}]" if self.max_turns else ""


def define_agent(  # noqa: PLR0913 - one keyword per field of a definition
    *,
    id: str,  # noqa: A002 - the public name of the field
    system: str,
    tools: Iterable[str | OwnTool] = (),
    name: str | None = None,
    role: str | None = None,
    description: str = "",
    model: str | ModelRef | Mapping[str, str] | None = None,
    max_turns: int | None = None,
    max_turns_message: str | None = None,
    max_tokens: int | None = None,
    temperature: float | None = None,
    thinking_enabled: bool = False,
    programs: Iterable[ProgramName] = ("react",),
) -> AgentDefinition:
    """Describe an agent; ValueError or TypeError says what is wrong.

    `tools` are names of tools there are, and tools of its own (`@tool`). `model` is
    `"provider:model"` (split at the first colon), a `ModelRef`, or a mapping with `provider` and
    `model`. `name` and `role` are the id unless given.
    """
    listed = tuple(tools)
    brings = tuple(one for one in listed if not isinstance(one, str))
    if plain := [one for one in brings if not hasattr(one, "name")]:
        raise TypeError(f"agent {id!r}: {plain[0]!r} is no tool; decorate the function with @tool")
    names = tuple(one if isinstance(one, str) else one.name for one in listed)
    if twice := sorted({tool for tool in names if names.count(tool) > 1}):
        raise ValueError(f"agent {id!r} names tools twice: {', '.join(twice)}")
    return AgentDefinition(
        id=id,
        name=name or id,
        role=role or id,
        model=parse_model(model),
        system=system,
        tools=names,
        brings=brings,
        description=description,
        max_turns=max_turns,
        max_turns_message=max_turns_message or FINAL_TURN_TEXT,
        max_tokens=max_tokens,
        temperature=temperature,
        thinking_enabled=thinking_enabled,
        programs=tuple(programs),
    )


def parse_model(model: str | ModelRef | Mapping[str, str] | None) -> ModelRef | None:
    """Read a model in any of its spellings; ValueError names what is missing or not allowed."""
    if model is None or isinstance(model, ModelRef):
        return model
    if isinstance(model, str):
        provider, colon, name = model.partition(":")
        if not colon or not provider or not name:
            raise ValueError(f"model {model!r} is not written as provider:model")
        return ModelRef(provider=provider, model=name)
    if other := sorted(set(model) - _MODEL_KEYS):
        raise ValueError(
            f"a model has a provider and a model, not {', '.join(other)}; keys and addresses of "
            "providers belong in providers.json or the environment"
        )
    name = model.get("model") or model.get("model_id") or model.get("modelId")
    if not name or not model.get("provider"):
        raise ValueError("a model needs both provider and model")
    return ModelRef(provider=model["provider"], model=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """For whom an agent is made. What the user chose is None where they left it to the profile."""

    session: SessionId
    agent: AgentName
    role: str
    model: ModelRef | None = None
    thinking: Thinking = "off"
    prompt: str | None = None
    """Replaces the profile's own text about the role."""
    max_turns: int | None = None
    labels: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the session's owner keeps with it."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How agents of one kind are made; called at the start of every run."""

    name: str
    create: Callable[[RequestContext], AgentDefinition]
    description: str = ""
    """What the team is told of such an agent, in a sentence."""
