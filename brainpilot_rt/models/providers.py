"""Which models there are: provider profiles, where they come from, and which one is meant.

Order of the default, first hit wins:
1. the selected profile of `bp_template/providers.json` (BrainPilot's file);
2. the environment: Anthropic, then OpenAI (a key or a base URL counts);
3. the first profile of the file that can be called;
4. a local Ollama that answers and has a model;
5. the offline model, which is always there.

All of them can be named in a `provider:model` reference, whichever is the default. A profile or
model that is named and is not there fails loudly; another one never takes its place. So does a
selected profile that the file does not hold, or that has no key. A file that can not be read is a
warning.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, cast

from brainpilot_rt.domain.errors import FatalFault
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.models.faults import scrub
from brainpilot_rt.models.http import is_loopback

ANTHROPIC_URL: Final = "https://api.anthropic.com"
OPENAI_URL: Final = "https://api.openai.com/v1"
ANTHROPIC_MODEL: Final = "claude-sonnet-5-5"
"""Used when a key is there and `ANTHROPIC_MODEL` is not."""
OPENAI_MODEL: Final = "gpt-5.4-mini"
"""Used when a key is there and `OPENAI_MODEL` is not."""
PROVIDERS_BYTES_MAX: Final = 4 * 1024 * 1024

_CONTEXT_WINDOW: Final = 128_000
_DOLLARS_MAX: Final = 1_000_000
_COSTS: Final = ("input", "output", "cacheRead", "cacheWrite")
_ANTHROPIC_CONTEXT_WINDOW: Final = 200_000


class Dialect(StrEnum):
    """How a provider is spoken to."""

    ANTHROPIC = "anthropic"
    OPENAI_CHAT = "openai_chat"
    OFFLINE = "offline"
    MOCK = "mock"
    UNSUPPORTED = "unsupported"


_APIS: Final = {
    "anthropic-messages": Dialect.ANTHROPIC,
    "openai-completions": Dialect.OPENAI_CHAT,
    "openai-responses": Dialect.UNSUPPORTED,
    "azure-openai-responses": Dialect.UNSUPPORTED,
}
_ADAPTERS: Final = {"anthropic": Dialect.ANTHROPIC, "openai": Dialect.OPENAI_CHAT}


@dataclass(frozen=True, slots=True)
class TokenPrices:
    """US dollars for a million tokens. What the cache reads or takes in costs as input: None."""

    input: Decimal
    output: Decimal
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderProfile:
    """One way to reach models. `id` is what a `ModelRef` names."""

    id: str
    name: str
    dialect: Dialect
    base_url: str = ""
    api_key: str | None = field(default=None, repr=False)
    models: tuple[str, ...] = ()
    """The first one is the profile's default."""
    models_open: bool = True
    """Whether models beside the listed ones may be named."""
    context_window: int = _CONTEXT_WINDOW
    """Tokens."""
    max_tokens: int | None = None
    """Output tokens of one call, when the request does not say."""
    free: bool = False
    """Calls cost nothing (local, offline)."""
    prices: Mapping[str, TokenPrices] = field(default_factory=dict[str, TokenPrices])
    """Of models, as the file declares them (`cost` of a model)."""
    source: str = ""
    """Where the profile comes from, for people."""

    @property
    def problem(self) -> str | None:
        """Why this profile can not be called; None when it can."""
        if self.dialect is Dialect.UNSUPPORTED:
            return "it needs the OpenAI Responses API, which is not spoken here"
        if self.dialect in {Dialect.OFFLINE, Dialect.MOCK}:
            return None
        if not self.base_url.startswith(("https://", "http://")):
            return "its base URL is not an http(s) address"
        if not self.models:
            return "it lists no model"
        if not self.api_key and not is_loopback(self.base_url):
            return "it has no API key"
        return None


OFFLINE: Final = ProviderProfile(
    id="offline",
    name="Offline rules (not an LLM)",
    dialect=Dialect.OFFLINE,
    models=("offline",),
    models_open=False,
    free=True,
    source="built in",
)
MOCK: Final = ProviderProfile(
    id="mock",
    name="Mock",
    dialect=Dialect.MOCK,
    models=("mock",),
    models_open=False,
    free=True,
    source="BP_MOCK",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderEnv:
    """What the environment says about models, as settings read it. Empty means not set."""

    anthropic_api_key: str = field(default="", repr=False)
    anthropic_base_url: str = ""
    anthropic_model: str = ""
    anthropic_context_window: int | None = None
    anthropic_max_tokens: int | None = None
    openai_api_key: str = field(default="", repr=False)
    openai_base_url: str = ""
    openai_model: str = ""
    ollama_host: str = ""
    mock: bool = False
    """`BP_MOCK`: the mock model is the default, whatever else there is."""
    keys: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """The variables that `apiKeyEnv` of a profile may name."""


@dataclass(frozen=True, slots=True)
class Providers:
    """The profiles in order, which one is the default, and what was wrong on the way."""

    profiles: tuple[ProviderProfile, ...] = (OFFLINE,)
    default: str = OFFLINE.id
    warnings: tuple[str, ...] = ()

    def resolve(self, ref: ModelRef | None) -> tuple[ProviderProfile, str]:
        """The profile and model meant (None: the default). `FatalFault` when it can not be had."""
        wanted = ref.provider if ref else self.default
        profile = next((each for each in self.profiles if each.id == wanted), None)
        if profile is None:
            known = ", ".join(each.id for each in self.profiles)
            raise FatalFault(f"no provider {wanted!r}; there are: {known}", code="unknown_provider")
        if profile.problem:
            raise FatalFault(
                f"provider {profile.id!r} can not be used: {profile.problem}", code="not_configured"
            )
        model = (ref.model if ref else "") or profile.models[0]
        if not profile.models_open and model not in profile.models:
            listed = ", ".join(profile.models)
            raise FatalFault(
                f"provider {profile.id!r} has no model {model!r}; it has: {listed}",
                code="unknown_model",
            )
        return profile, model

    def describe(self) -> list[dict[str, object]]:
        """The profiles for a person to read; no keys."""
        return [
            {
                "id": each.id,
                "name": each.name,
                "dialect": each.dialect.value,
                "base_url": scrub(each.base_url),
                "models": list(each.models),
                "key": "set" if each.api_key else "none",
                "source": each.source,
                "problem": each.problem,
                "default": each.id == self.default,
            }
            for each in self.profiles
        ]


def choose(
    file: bytes | None, env: ProviderEnv, ollama: ProviderProfile | None = None
) -> Providers:
    """Put the profiles together and pick the default. Pure.

    Args:
        file: the bytes of `bp_template/providers.json`; None when there is none.
        env: the environment's group of settings.
        ollama: the profile of a local Ollama, if one answered.
    """
    filed, selected, warnings = _read_file(file, env.keys) if file is not None else ([], None, [])
    found = [*filed, *_from_env(env), *([ollama] if ollama else []), OFFLINE]
    if env.mock:
        found.append(MOCK)
    # A profile of the file takes an id before the environment's of the same name.
    profiles = tuple({each.id: each for each in reversed(found)}.values())[::-1]
    default = _default(profiles, selected, env)
    chosen = next((each for each in profiles if each.id == default), None)
    if chosen is None:
        warnings.append(f"the selected profile {default!r} is not in providers.json")
    elif chosen.problem:
        warnings.append(f"the selected profile {default!r} can not be used: {chosen.problem}")
    return Providers(profiles, default, tuple(warnings))


def needs_probe(file: bytes | None, env: ProviderEnv) -> bool:
    """Whether it is worth looking for an Ollama: it was named, or nothing else is there."""
    return bool(env.ollama_host) or choose(file, env).default == OFFLINE.id


def _default(profiles: tuple[ProviderProfile, ...], selected: str | None, env: ProviderEnv) -> str:
    if env.mock:
        return MOCK.id
    if selected:
        return selected
    rank = {"environment": 0, "providers.json": 1, "local Ollama": 2, "built in": 3}
    usable = [each for each in profiles if not each.problem]
    return min(usable, key=lambda each: rank.get(each.source, len(rank))).id


def _from_env(env: ProviderEnv) -> list[ProviderProfile]:
    found: list[ProviderProfile] = []
    if env.anthropic_api_key or env.anthropic_base_url:
        found.append(
            ProviderProfile(
                id="anthropic",
                name="Anthropic",
                dialect=Dialect.ANTHROPIC,
                base_url=env.anthropic_base_url or ANTHROPIC_URL,
                api_key=env.anthropic_api_key or None,
                models=(env.anthropic_model or ANTHROPIC_MODEL,),
                context_window=env.anthropic_context_window or _ANTHROPIC_CONTEXT_WINDOW,
                max_tokens=env.anthropic_max_tokens,
                source="environment",
            )
        )
    if env.openai_api_key or env.openai_base_url:
        found.append(
            ProviderProfile(
                id="openai",
                name="OpenAI",
                dialect=Dialect.OPENAI_CHAT,
                base_url=env.openai_base_url or OPENAI_URL,
                api_key=env.openai_api_key or None,
                models=(env.openai_model or OPENAI_MODEL,),
                source="environment",
            )
        )
    return found


def _read_file(
    file: bytes, keys: Mapping[str, str]
) -> tuple[list[ProviderProfile], str | None, list[str]]:
    """The profiles of a providers.json, the selected id, and warnings. Never raises."""
    if len(file) > PROVIDERS_BYTES_MAX:
        return [], None, [f"providers.json is larger than {PROVIDERS_BYTES_MAX} bytes; ignored"]
    try:
        content: object = json.loads(file)
    except (ValueError, RecursionError) as error:
        return [], None, [f"providers.json is not JSON and is ignored: {error}"]
    fields = cast("dict[str, Any]", content) if isinstance(content, dict) else {}
    listed: object = fields.get("profiles")
    if not isinstance(listed, list):
        return [], None, ["providers.json has no list of profiles and is ignored"]
    warnings: list[str] = []
    profiles: list[ProviderProfile] = []
    for number, entry in enumerate(cast("list[object]", listed)):
        profile = _profile(_fields(entry), keys)
        if profile is None:
            warnings.append(f"providers.json: profile {number} has no id or base URL; left out")
        else:
            profiles.append(profile)
            warnings += _not_priced(profile, _fields(entry))
    selected = _text(fields, "selectedProfileId")
    return profiles, selected or None, warnings


def _profile(entry: dict[str, Any], keys: Mapping[str, str]) -> ProviderProfile | None:
    ident, base_url = _text(entry, "id"), _text(entry, "baseUrl")
    if not ident or not base_url:
        return None
    dialect = (
        _APIS.get(_text(entry, "api"))
        or _ADAPTERS.get(_text(entry, "adapter"))
        or Dialect.ANTHROPIC
    )
    listed: object = entry.get("models")
    models = cast("list[object]", listed) if isinstance(listed, list) else []
    window = entry.get("contextWindow")
    return ProviderProfile(
        id=ident,
        name=_text(entry, "name") or ident,
        dialect=dialect,
        base_url=base_url.rstrip("/"),
        api_key=_text(entry, "apiKey") or keys.get(_text(entry, "apiKeyEnv")) or None,
        models=tuple(name for name in map(_model_name, models) if name),
        prices={_model_name(one): cost for one in models if (cost := _cost(one)) is not None},
        models_open=False,
        context_window=window if isinstance(window, int) and window > 0 else _CONTEXT_WINDOW,
        source="providers.json",
    )


def _model_name(entry: object) -> str:
    """A model is written as its name, or as an object with an id."""
    if isinstance(entry, dict):
        return _text(cast("dict[str, Any]", entry), "id")
    return entry.strip() if isinstance(entry, str) else ""


def _fields(entry: object) -> dict[str, Any]:
    return cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}


def _cost(entry: object) -> TokenPrices | None:
    """`cost` of a model: `input` and `output`, perhaps `cacheRead` and `cacheWrite`."""
    said = _fields(_fields(entry).get("cost"))
    given = {name: said[name] for name in _COSTS if name in said}
    known = {name: usd for name, one in given.items() if (usd := _dollars(one)) is not None}
    if len(known) < len(given) or not {"input", "output"} <= known.keys():
        return None
    return TokenPrices(
        known["input"], known["output"], known.get("cacheRead"), known.get("cacheWrite")
    )


def _dollars(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return Decimal(str(value)) if 0 <= value < _DOLLARS_MAX else None


def _not_priced(profile: ProviderProfile, entry: dict[str, Any]) -> list[str]:
    listed: object = entry.get("models")
    models = cast("list[object]", listed) if isinstance(listed, list) else []
    names = [_model_name(one) for one in models if "cost" in _fields(one)]
    return [
        f"providers.json: cost of {name!r} is no pair of amounts (input, output); ignored"
        for name in names
        if name not in profile.prices
    ]


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return value.strip() if isinstance(value, str) else ""
