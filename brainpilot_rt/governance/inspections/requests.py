"""A tool call as the firewall sees it, the owner's rules, and what a stage may find."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, TypeAlias, cast

import re2  # pyright: ignore[reportMissingTypeStubs] - it has none
from pydantic import BeforeValidator, ConfigDict, Field, field_validator
from pydantic.alias_generators import to_camel
from typing_extensions import override

from brainpilot_rt.domain.governing import JudgedAction
from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.domain.values import Value

Code: TypeAlias = Literal[
    "denied_tool",
    "rbac_unauthorized",
    "args_invalid",
    "command_injection",
    "prompt_injection",
    "semantic_anomaly",
    "secret_detected",
    "policy_denied",
    "approval_required",
    "substituted",
    "downgraded",
]
Reaction: TypeAlias = Literal["warn", "ask", "block"]
Kind: TypeAlias = Literal["shell", "path", "url", "word", "text", "other"]
"""What a text argument is: a command line; one path, address or name that a program may hand on to
a shell; free text that nobody executes; or nobody knows."""

DEPTH_MAX: Final = 64
"""Lists and objects within each other in the arguments of a call."""

_SHELLS: Final = frozenset({"bash", "sh", "zsh", "shell", "exec", "terminal", "powershell"})
_SHELL_VERBS: Final = frozenset({"run", "execute", "exec"})
_COMMAND_KEYS: Final = frozenset({"command", "commands", "cmd", "script"})


def _keys(kind: Kind, names: str) -> dict[str, Kind]:
    return dict.fromkeys(names.split(), kind)


_KINDS: Final[Mapping[str, Kind]] = {
    **_keys("path", "path paths file files filename filepath dir directory folder cwd root"),
    **_keys("path", "src destination dest dst target"),
    **_keys("url", "url urls uri href link endpoint"),
    **_keys("word", "branch ref refspec rev revision sha tag remote repo repository owner"),
    **_keys("word", "org host hostname domain ip username container image package module"),
    **_keys("word", "version service namespace pod id name"),
    **_keys("text", "content contents text body message description pattern regex query keywords"),
    **_keys("text", "code prompt note notes goal steps quote diff patch html markdown sql title"),
    **_keys("text", "question answer comment summary reason explanation thought data input"),
    **_keys("text", "expression template instructions context reply subject abstract fact caption"),
}
"""By the last word of an argument's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRequest:
    """One call. What it says of the tool is about the *effective* one (`firewall.effective_tool`).

    `external`: the tool is not ours (MCP). Its hints are a server's own words: they may take a
    question away that the default would ask, never one that taint, hosts or the owner ask.
    """

    tool: str
    """As the model called it; a foreign one is `mcp__<server>__<tool>`."""
    arguments: Mapping[str, Any] | None
    """None: they do not parse."""
    raw_arguments: str = ""
    role: str
    agent: str
    allowed: frozenset[str]
    """What the role may use."""
    effect: Effect
    server: str | None = None
    definition_digest: str = ""
    tainted: bool = False
    """Untrusted content had a part in what the run says."""
    external: bool = False
    read_only_hint: bool | None = None
    destructive_hint: bool | None = None
    confirm: bool = False
    """Its author says that a person has to confirm each call."""
    cost_usd: Decimal | None = None
    """None: unknown. A tool of ours costs nothing by itself."""

    @property
    def read_only(self) -> bool:
        """It changes nothing."""
        return self.read_only_hint is True or self.ours_read_only

    @property
    def ours_read_only(self) -> bool:
        """It is a tool of ours that changes nothing: it looks at the work tree or the memory."""
        return not self.external and self.effect is Effect.PURE


class _Rules(Value):
    # Both spellings are read; written is the one of BrainstormRouter's clients (`denyList`).
    model_config = ConfigDict(
        alias_generator=lambda name: to_camel(name.rstrip("_")), validate_by_name=True
    )


@lru_cache(maxsize=256)
def replacer(pattern: str) -> Callable[[str, str], str]:
    """A function of a replacement and a text, for all that the expression finds. `ValueError`.

    By RE2: its time grows with the text and no faster, whatever the expression. One such as
    `(a+)+$` would stop the whole daemon with `re`, which can not be interrupted.
    """
    engine: Any = re2
    options = engine.Options()
    options.log_errors = False
    try:
        compiled = engine.compile(pattern, options)
    except engine.error as error:
        why = error.args[0]
        said = why.decode(errors="replace") if isinstance(why, bytes) else str(why)
        raise ValueError(f"not a regular expression (of RE2): {said}") from None

    def replaced(by: str, text: str) -> str:
        def given(_found: object) -> str:
            return by

        return compiled.sub(given, text)

    return replaced


class MaskPattern(_Rules):
    """What the expression finds in arguments becomes `[REDACTED:<name>]`."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,60}$")]
    pattern: Annotated[str, Field(min_length=1, max_length=500)]

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        replacer(pattern)
        return pattern


class Substitution(_Rules):
    """Calls of one tool go to another, with further arguments. Not followed a second time."""

    from_: str
    to: str
    args: dict[str, Any] = Field(default_factory=dict)


Mode: TypeAlias = Literal["enforce", "monitor", "off"]
_MODES: Final[Mapping[object, Mode]] = {"block": "enforce", "warn": "monitor", "log": "monitor"}


class FirewallConfig(_Rules):
    """The owner's rules for calls.

    `monitor` reports what would have happened, and `off` looks for nothing; neither lifts roles,
    argument schemas or policies, which are rights and not suspicions.
    """

    mode: Annotated[
        Mode,
        BeforeValidator(lambda word: _MODES.get(word, word) if isinstance(word, str) else word),
    ] = "enforce"
    deny_list: tuple[str, ...] = ()
    """Patterns of tool names, such as `mcp__github__delete_*`."""
    mask_patterns: tuple[MaskPattern, ...] = ()
    substitutions: tuple[Substitution, ...] = ()
    downgrade_on_tools: tuple[str, ...] = ()
    """After a call of these, cheaper models are good enough for the run: a hint to the router."""
    on_command_injection: Reaction = "block"
    """In arguments of tools that are no shells."""
    on_shell_risk: Reaction = "ask"
    """A command line that destroys, leaks or stays behind."""
    on_injection: Reaction = "warn"
    """Instructions in arguments that read like an injected prompt, in a tainted run."""
    injection_threshold: float = 0.7
    on_tainted: Reaction = "ask"
    """What a tainted run may not do by itself: `tainted_tools`, and foreign tools that change."""
    tainted_tools: tuple[str, ...] = ()
    """Of our own, such as `create_agent`. None unless said: who reads documents is tainted, and
    a team whose every research asks first is not used."""
    allowed_hosts: tuple[str, ...] = ()
    """Patterns of hosts that foreign tools may be sent to without a question; empty: any public."""
    protected_paths: tuple[str, ...] = (
        *(".git/hooks/*", ".git/config", ".mcp.json", "mcp_servers.json", ".envrc"),
        *(".bashrc", ".bash_profile", ".profile", ".zshrc", ".zshenv", ".vscode/*"),
        *(".ssh/*", ".aws/*", ".gnupg/*", ".netrc", ".npmrc", ".pypirc", "/etc/*", "/proc/*"),
    )
    """Patterns of files that govern, start or unlock something: anyone but our own read-only tools
    asks first. One without a leading `/` matches at any depth."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a stage has to say."""

    action: JudgedAction
    code: Code
    detail: str

    @override
    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


def matches(patterns: tuple[str, ...], name: str) -> bool:
    """Whether one of the patterns (`*`, `?`, `[...]`) matches the whole name."""
    return any(fnmatchcase(name, one) for one in patterns)


@dataclass(frozen=True, slots=True)
class Argument:
    """One text among the arguments. `place`: where, such as `files.0.path`."""

    place: str
    text: str
    kind: Kind


def texts(request: ToolRequest) -> Iterator[Argument]:
    """Every text in the arguments, with what it is by the name of its key."""
    shell = _is_shell(request.tool)
    waiting: list[tuple[str, str, Any]] = [("", "", request.arguments or {})]
    while waiting:
        place, key, value = waiting.pop()
        if isinstance(value, str):
            kind = "shell" if shell and key in _COMMAND_KEYS else _kind(key)
            yield Argument(place, value, kind)
            continue
        dot = "." if place else ""
        inner = [
            (f"{place}{dot}{at}", str(at) if isinstance(value, Mapping) else key, one)
            for at, one in _items(value)
        ]
        waiting.extend(reversed(inner))


def is_deep(value: Any) -> bool:
    """Whether there is more than `DEPTH_MAX` within each other."""
    level = [value]
    for _ in range(DEPTH_MAX + 1):
        level = [one for outer in level for _, one in _items(outer)]
    return bool(level)


def rewritten(value: Any, change: Callable[[str], str]) -> Any:
    """The same JSON with every text in it changed, names of fields included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        pairs = cast("Mapping[Any, Any]", value).items()
        return {rewritten(key, change): rewritten(one, change) for key, one in pairs}
    if isinstance(value, list | tuple):
        return [rewritten(one, change) for one in cast("list[Any]", value)]
    return value


def _items(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(cast("Mapping[Any, Any]", value).items())
    if isinstance(value, list | tuple):
        return list(enumerate(cast("list[Any]", value)))
    return []


def _words(name: str) -> list[str]:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().replace("-", "_").split("_")


def _is_shell(tool: str) -> bool:
    words = _words(tool.rpartition("__")[2])
    return words[-1] in _SHELLS or (words[0] in _SHELL_VERBS and words[-1] in _COMMAND_KEYS)


def _kind(key: str) -> Kind:
    return _KINDS.get(_words(key)[-1], "other")
