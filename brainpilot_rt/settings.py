"""Settings: one frozen tree, and the only place that reads the environment or TOML.

Precedence: arguments of the command > environment > `config.toml` in the data directory > default.
An unknown key in the file is a warning with "did you mean" (kept in `Settings.warnings`, shown by
`doctor`); an invalid value is `BadSettings` with one clear line, exit code 2.

A constructor takes its group, never the whole tree. The unit stands in the name of every number.
"""

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal, Self, cast

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from brainpilot_rt.domain.errors import RuntimeFault


class BadSettings(RuntimeFault):
    """A setting has an invalid value; the message names it and says what is allowed."""

    code = "bad_settings"


class Group(BaseModel):
    """Base of the groups: frozen, closed, documented field by field."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class HttpSettings(Group):
    """The listener."""

    host: str = "127.0.0.1"
    """Address to bind. Anything but loopback takes `allow_remote` too."""
    allow_remote: bool = False
    """`BP_ALLOW_REMOTE=1`: other machines may reach the port, in clear text (for containers)."""
    port: int = Field(default=8081, ge=0, le=65535)
    """0: any free port."""
    allowed_hosts: tuple[str, ...] = ()
    """Further exact `host:port` values the Host header may have (a proxy's name)."""
    body_bytes_max: int = Field(default=4 * 1024 * 1024, ge=1024)
    """Largest JSON body; uploads have their own limit."""
    upload_bytes_max: int = Field(default=1024 * 1024 * 1024, ge=0)
    """Largest uploaded file, decoded (BrainPilot: 1 GiB)."""
    streams_max: int = Field(default=512, ge=1)
    """Open SSE streams."""
    lag_bytes_max: int = Field(default=2 * 1024 * 1024, ge=4096)
    """Live frames kept per session and wire; a reader further behind is disconnected, and resumes
    from the log."""
    heartbeat_s: float = Field(default=15.0, gt=0)
    """Seconds between comment heartbeats on every stream."""
    state_heartbeat_s: float = Field(default=10.0, gt=0)
    """Seconds of silence after which a parsable heartbeat event is sent."""

    @model_validator(mode="after")
    def _stays_here(self) -> Self:
        if not self.allow_remote and not _is_loopback(self.host):
            raise ValueError(
                f"{self.host!r} is reached by other machines; BP_ALLOW_REMOTE=1 (allow_remote in "
                "[http]) if that is wanted"
            )
        return self


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class SessionLimits(Group):
    """Caps the authority decides by. Counts, never a clock on a turn."""

    runs_concurrent_max: int = 4
    """Runs of one session at the same time; 0 or less: no cap (`BP_MAX_CONCURRENT_AGENTS`)."""
    letters_batch_max: int = Field(default=8, ge=1)
    """Letters one run takes at once."""
    letters_batch_chars_max: int = Field(default=24_000, ge=1)
    """Characters of those letters; the first is always taken."""
    mailbox_depth_max: int = Field(default=1000, ge=1)
    """Unread letters per agent before new work is refused. Results always fit."""
    root_hops_max: int = Field(default=24, ge=1)
    """Hops of one causal chain."""
    root_letters_max: int = Field(default=400, ge=1)
    """Letters of one causal chain."""
    root_runs_max: int = Field(default=400, ge=1)
    """Runs of one causal chain."""
    root_tokens_max: int = Field(default=50_000_000, ge=1)
    """Tokens of one causal chain after which none of its letters starts a run."""
    attempts_max: int = Field(default=3, ge=1)
    """Attempts at the same letters after failures or crashes that made no progress."""
    agents_max: int = Field(default=32, ge=2)
    """Living agents of a session."""
    questions_max: int = Field(default=8, ge=1)
    """Open questions of a session."""
    approvals_max: int = Field(default=64, ge=1)
    """Calls of a session that wait for an approval."""
    delegation_share: float = Field(default=0.5, gt=0, le=1)
    """Part of a sender's remaining budget that a delegation gets unless it says how much."""
    memory_items_max: int = Field(default=50_000, ge=1)
    """Items remembered in one session."""
    memory_item_chars_max: int = Field(default=8_000, ge=1)
    """Characters of one item."""
    facts_human_max: int = Field(default=50, ge=0)
    """Facts about the user."""
    facts_system_max: int = Field(default=50, ge=0)
    """Standing rules."""
    facts_project_max: int = Field(default=50, ge=0)
    """Facts about the work at hand."""
    facts_general_max: int = Field(default=100, ge=0)
    """Other facts."""


class MailSettings(Group):
    """Mailbox directories."""

    rescan_s: float = Field(default=5.0, gt=0, le=10)
    """Full sweep of every `new/`; the watcher is only a hint."""
    watch: bool = True
    """False: sweep only (network file systems)."""
    letter_bytes_max: int = Field(default=256 * 1024, ge=1024)
    """Largest letter file that is read."""
    done_max: int = Field(default=2000, ge=0)
    """Consumed letters kept per agent in `done/`."""


class AgentSettings(Group):
    """Runs and their conversations."""

    max_turns: int = Field(default=500, ge=0)
    """Model calls per run, the last one forced to answer: a model that never stops calling tools
    must not spend for ever. 0: no limit."""
    context_chars_max: int = Field(default=400_000, ge=4000)
    """Characters of conversation given to a model (about four per token)."""
    tool_result_tokens_max: int = Field(default=64_000, ge=0)
    """Tool results longer than this are cut, the whole text goes to a file; 0: never cut."""
    tools_parallel_max: int = Field(default=8, ge=1)
    """Tool calls of one turn at the same time."""
    stall_notice_s: float = Field(default=60.0, gt=0)
    """Seconds of silence of a model after which an advisory event says so. It ends nothing."""
    shell: Literal["sandbox", "ask", "off", "unsandboxed"] = "sandbox"
    """`sandbox`: bash only inside bubblewrap; `ask`: ask the user each time where it is missing."""
    conversations_max: int = Field(default=64, ge=1)
    """Conversations kept in memory; the rest are read from the log again when needed."""


class ThinkingSettings(Group):
    """How a run thinks: intent, programs, context, memory."""

    classifier: Literal["auto", "model", "heuristic"] = "auto"
    """Who says what a message wants. `auto`: a model where that costs nothing (offline) or
    `classifier_model` names one; rules otherwise. A model that fails is replaced by the rules."""
    classifier_model: str | None = None
    """`provider:model` for classification; None: the agent's own."""
    classifier_wait_s: float = Field(default=30.0, gt=0)
    """Seconds until the rules decide instead of a model that has not answered."""
    plan_steps_max: int = Field(default=12, ge=1)
    """Steps of one plan."""
    replans_max: int = Field(default=3, ge=0)
    """Revisions of one plan; after them the run has to end with what it has."""
    evidence_tries_max: int = Field(default=2, ge=0)
    """Times a research answer is sent back because its citations do not hold."""
    research_passages: int = Field(default=8, ge=1, le=50)
    """Passages retrieved for a research run before the model is asked."""
    tool_calls_turn_max: int = Field(default=30, ge=1)
    """Tool calls of one reply that are run; the rest is refused."""
    repeats_max: int = Field(default=3, ge=1)
    """Times one call may have the same arguments and the same result in a row."""
    breaker_failures: int = Field(default=5, ge=0)
    """Failures of one tool in a row after which it is not called for `breaker_open_s`; 0: never."""
    breaker_open_s: float = Field(default=30.0, gt=0)
    """Seconds until one call may try a tool again."""
    sources_tokens_max: int = Field(default=4_000, ge=0)
    """Tokens of the six context sources together."""
    memory_tokens_max: int = Field(default=16_000, ge=0)
    """Tokens of remembered items in one context."""
    section_items_max: int = Field(default=20, ge=1)
    """A section of memory with more items shows only those that fit the message best."""
    compact_at: float = Field(default=0.8, gt=0, le=1)
    """Part of `context_chars_max` at which the older conversation is summarised."""


class SearchSettings(Group):
    """The index of the work trees."""

    wait_s: float = Field(default=5.0, ge=0, le=60)
    """Seconds a search waits for the index to be up to date; then it answers from what is there."""
    rest: int = Field(default=10, ge=0)
    """After a walk through a tree of more than 0.1 s, none begins for so many times its length."""
    files_max: int = Field(default=20_000, ge=1)
    """Files of one work tree that are indexed, in the order of their paths."""
    tree_bytes_max: int = Field(default=256 * 1024 * 1024, ge=1)
    """Bytes of one work tree that are indexed."""
    file_bytes_max: int = Field(default=4 * 1024 * 1024, ge=1)
    """A larger file is not indexed."""


class BudgetSettings(Group):
    """What may be spent, in US dollars; None: no bound. Agents may have tighter ones."""

    run_usd: Decimal | None = Field(default=None, ge=0)
    """One run of one agent."""
    root_usd: Decimal | None = Field(default=None, ge=0)
    """One request with everything that follows from it."""
    session_usd: Decimal | None = Field(default=None, ge=0)
    """One session."""
    agent_daily_usd: Decimal | None = Field(default=None, ge=0)
    """One agent (by name) in a day, UTC, over all sessions."""
    agent_monthly_usd: Decimal | None = Field(default=None, ge=0)
    """One agent in a calendar month, UTC."""
    daily_usd: Decimal | None = Field(default=None, ge=0)
    """Everything in a day, UTC (`BP_BUDGET_DAILY_USD`)."""
    monthly_usd: Decimal | None = Field(default=None, ge=0)
    """Everything in a calendar month, UTC (`BP_BUDGET_MONTHLY_USD`)."""
    unknown_price: Literal["assume", "refuse"] = "assume"
    """A model whose price nobody knows: count the prices below, or do not ask it at all while a
    budget bounds the call. It is never counted as free, and its cost is shown as unknown."""
    assumed_input_usd: Decimal = Field(default=Decimal(5), ge=0)
    """A million input tokens of a model without a known price."""
    assumed_output_usd: Decimal = Field(default=Decimal(25), ge=0)
    """A million output tokens of a model without a known price."""
    warn_at: tuple[float, ...] = (0.8, 0.9, 0.95)
    """Parts of a budget at which it is said, once for each budget and run."""


class RoutingSettings(Group):
    """Which model is asked in each turn."""

    team: Literal["default", "auto"] = "default"
    """Agents of a team whose session names no model: the default model, or one chosen turn by turn
    among `models` (`BP_ROUTING`). Agent runs over `/v1` are always routed."""
    models: tuple[str, ...] = ()
    """`provider:model` or `provider:*` to choose among; empty: all configured ones that can be
    asked (a free local one only when it is the default)."""
    fallbacks_max: int = Field(default=2, ge=0)
    """Other models tried in a turn when one fails before it has said anything. A pinned model is
    never replaced."""
    seed: int | None = None
    """For tests: the same choices every time."""


class GuardSettings(Group):
    """Guardrails and tool governance, until they are changed over HTTP."""

    enabled: bool = True
    """Check what goes in and out of models and tools."""
    mode: Literal["block", "redact", "warn", "log"] = "warn"
    """What is done about a finding of a check that has no rule of its own."""
    confidence: float = Field(default=0.7, ge=0, le=1)
    """Findings below it are ignored."""
    provider_wait_s: float = Field(default=5.0, gt=0)
    """Seconds an external guardrail provider may take for its answer."""
    provider_fail: Literal["open", "closed"] = "closed"
    """What a provider that fails means: the text passes, or it is blocked."""
    firewall: Literal["enforce", "monitor", "off"] = "enforce"
    """Inspection of tool calls: act on it, only say it, or leave it out."""
    approval_wait_s: float | None = Field(default=86_400, gt=0)
    """Seconds until an approval nobody decides counts as denied; None: it waits for ever."""
    calls_per_minute: int = Field(default=120, ge=0)
    """Calls of one tool by one agent; 0: no bound."""
    mcp_wait_s: float = Field(default=5.0, ge=0)
    """Seconds a run waits for MCP servers that connect for the first time; then it begins without
    their tools."""


class ModelSettings(Group):
    """Where models come from, as the environment says it."""

    openai_api_key: SecretStr | None = None
    """`OPENAI_API_KEY`."""
    openai_base_url: str | None = None
    """`OPENAI_BASE_URL`."""
    openai_model: str | None = None
    """`OPENAI_MODEL`."""
    anthropic_api_key: SecretStr | None = None
    """`ANTHROPIC_API_KEY`."""
    anthropic_base_url: str | None = None
    """`ANTHROPIC_BASE_URL`."""
    anthropic_model: str | None = None
    """`ANTHROPIC_MODEL`."""
    anthropic_max_tokens: int | None = None
    """`ANTHROPIC_MAX_TOKENS`."""
    ollama_host: str | None = None
    """`OLLAMA_HOST`."""
    ollama_probe: bool = True
    """Look for a local Ollama at start when nothing else is configured."""
    offline: bool = False
    """`BP_OFFLINE=1`: use the built-in offline model whatever is configured."""
    mock: bool = False
    """`BP_MOCK=1`: BrainPilot's mock model."""


class Settings(Group):
    """The whole tree."""

    data_dir: Path
    """Log, token, lock, workspaces; 0700."""
    mailbox_dir: Path
    """Root of the mailbox directories; 0700."""
    mem_limit_mb: int | None = None
    """`BP_MEM_LIMIT_MB`: refuse new messages at 85 % of this resident size."""
    checkpoint_pages: int = Field(default=3000, ge=1)
    """`BP_CHECKPOINT_PAGES`: pages of the write-ahead log (about) that start a checkpoint."""
    failpoints: str = ""
    """`FAILPOINTS`: named places where a test kills, fails or delays the daemon."""
    debuggable: bool = False
    """`BP_DEBUGGABLE=1`: let debuggers and profilers of the same user look into the daemon."""
    http: HttpSettings = HttpSettings()
    """The listener."""
    sessions: SessionLimits = SessionLimits()
    """Caps of a session."""
    mail: MailSettings = MailSettings()
    """Mailboxes."""
    agents: AgentSettings = AgentSettings()
    """Runs."""
    thinking: ThinkingSettings = ThinkingSettings()
    """Intent, programs, context, memory."""
    search: SearchSettings = SearchSettings()
    """The index of the work trees."""
    models: ModelSettings = ModelSettings()
    """Models."""
    budgets: BudgetSettings = BudgetSettings()
    """Money."""
    routing: RoutingSettings = RoutingSettings()
    """The choice of a model."""
    guard: GuardSettings = GuardSettings()
    """Guardrails and tools."""
    environment: Mapping[str, str] = Field(default_factory=dict, repr=False)
    """The environment as it was, for `apiKeyEnv` of provider profiles and child allow-lists."""
    warnings: tuple[str, ...] = ()
    """What was odd but not wrong; shown by `doctor` and at start."""


_ENVIRONMENT: Final[dict[str, tuple[str, str]]] = {
    "BP_RUNTIME_PORT": ("http", "port"),
    "PORT": ("http", "port"),
    "BP_HOST": ("http", "host"),
    "BP_ALLOW_REMOTE": ("http", "allow_remote"),
    "BP_UPLOAD_MAX_BYTES": ("http", "upload_bytes_max"),
    "BP_MAX_CONCURRENT_AGENTS": ("sessions", "runs_concurrent_max"),
    "BP_MAX_TOOL_RESULT_TOKENS": ("agents", "tool_result_tokens_max"),
    "BP_MEM_LIMIT_MB": ("", "mem_limit_mb"),
    "BP_SHELL": ("agents", "shell"),
    "BP_CLASSIFIER": ("thinking", "classifier"),
    "BP_CLASSIFIER_MODEL": ("thinking", "classifier_model"),
    "BP_BUDGET_DAILY_USD": ("budgets", "daily_usd"),
    "BP_BUDGET_MONTHLY_USD": ("budgets", "monthly_usd"),
    "BP_ROUTING": ("routing", "team"),
    "BP_OFFLINE": ("models", "offline"),
    "BP_MOCK": ("models", "mock"),
    "BP_CHECKPOINT_PAGES": ("", "checkpoint_pages"),
    "FAILPOINTS": ("", "failpoints"),
    "BP_DEBUGGABLE": ("", "debuggable"),
    "OPENAI_API_KEY": ("models", "openai_api_key"),
    "OPENAI_BASE_URL": ("models", "openai_base_url"),
    "OPENAI_MODEL": ("models", "openai_model"),
    "ANTHROPIC_API_KEY": ("models", "anthropic_api_key"),
    "ANTHROPIC_BASE_URL": ("models", "anthropic_base_url"),
    "ANTHROPIC_MODEL": ("models", "anthropic_model"),
    "ANTHROPIC_MAX_TOKENS": ("models", "anthropic_max_tokens"),
    "OLLAMA_HOST": ("models", "ollama_host"),
}
"""Environment variable -> (group, field); a later one wins (`PORT` over `BP_RUNTIME_PORT`)."""

_GROUPS: Final[dict[str, type[Group]]] = {
    "http": HttpSettings,
    "sessions": SessionLimits,
    "mail": MailSettings,
    "agents": AgentSettings,
    "thinking": ThinkingSettings,
    "search": SearchSettings,
    "models": ModelSettings,
    "budgets": BudgetSettings,
    "routing": RoutingSettings,
    "guard": GuardSettings,
}
_TOP: Final = ("mem_limit_mb", "checkpoint_pages")


def load(
    env: Mapping[str, str] | None = None,
    *,
    data_dir: str | Path | None = None,
    mailbox_dir: str | Path | None = None,
    host: str | None = None,
    port: int | None = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
) -> Settings:
    """Read every source once; `overrides` (group -> field -> value) go last. `BadSettings`."""
    env = dict(os.environ) if env is None else env
    base = _data_dir(env, data_dir)
    tree, warnings = _from_file(base / "config.toml")
    for name, (group, field) in _ENVIRONMENT.items():
        if env.get(name):
            (tree.setdefault(group, {}) if group else tree)[field] = env[name]
    for field, value in (("host", host), ("port", port)):
        if value is not None:
            tree.setdefault("http", {})[field] = value
    for group, values in (overrides or {}).items():
        if group not in _GROUPS:
            raise BadSettings(f"there is no group of settings {group!r}: {', '.join(_GROUPS)}")
        tree.setdefault(group, {}).update(values)
    mail = mailbox_dir or env.get("BP_MAILBOX_DIR") or base / "mailbox"
    try:
        return Settings.model_validate(
            {
                **tree,
                "data_dir": base,
                "mailbox_dir": Path(mail).expanduser().absolute(),
                "environment": dict(env),
                "warnings": warnings,
            }
        )
    except ValidationError as error:
        raise BadSettings(_say(error)) from None


def _data_dir(env: Mapping[str, str], given: str | Path | None) -> Path:
    chosen = given or env.get("BP_DATA_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return Path(platformdirs.user_data_dir("brainpilot-rt", appauthor=False))


def _from_file(path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, ()
    except (OSError, ValueError, RecursionError) as error:
        raise BadSettings(f"{path}: {error}") from None
    tree: dict[str, Any] = {}
    warnings: list[str] = []
    for key, value in raw.items():
        group = _GROUPS.get(key)
        if group is not None and isinstance(value, dict):
            known: dict[str, Any] = {}
            given = cast("dict[str, Any]", value)
            for name, one in given.items():
                if name in group.model_fields:
                    known[name] = one
                else:
                    warnings.append(_unknown(path, f"{key}.{name}", list(group.model_fields), name))
            tree[key] = known
        elif key in _TOP:
            tree[key] = value
        else:
            warnings.append(_unknown(path, key, [*_GROUPS, *_TOP], key))
    return tree, tuple(warnings)


def _unknown(path: Path, shown: str, known: list[str], name: str) -> str:
    near = get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{path.name}: unknown key {shown!r}{hint}"


def _say(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    names = [name for name, (group, field) in _ENVIRONMENT.items() if where == f"{group}.{field}"]
    shown = f"{where} ({', '.join(names)})" if names else where
    return f"setting {shown}: {first['msg']}"
