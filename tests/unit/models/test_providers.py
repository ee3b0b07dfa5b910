import json
from decimal import Decimal
from typing import Any

import pytest

from brainpilot_rt.domain.errors import FatalFault
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.models.providers import (
    ANTHROPIC_MODEL,
    OPENAI_MODEL,
    Dialect,
    ProviderEnv,
    TokenPrices,
    choose,
    needs_probe,
)
from tests.unit.models.wires import profile

KEYS = ProviderEnv(anthropic_api_key="sk-ant-secret", openai_api_key="sk-openai-secret")
OLLAMA = profile(
    Dialect.OPENAI_CHAT,
    id="ollama",
    base_url="http://127.0.0.1:11434/v1",
    models=("qwen3:8b",),
    free=True,
    source="local Ollama",
)


def _file(*profiles: dict[str, Any], selected: str | None = None) -> bytes:
    content: dict[str, Any] = {"profiles": list(profiles)}
    if selected is not None:
        content["selectedProfileId"] = selected
    return json.dumps(content).encode()


def _entry(ident: str = "mine", **changes: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": ident,
        "name": "Mine",
        "baseUrl": "https://models.example/v1/",
        "api": "openai-completions",
        "apiKey": "sk-file-secret",
        "models": ["large", {"id": "small", "label": "Small"}],
        "createdAt": "2026-01-01T00:00:00Z",
    }
    return entry | changes


def test_a_selected_profile_wins_over_the_environment() -> None:
    chosen, model = choose(_file(_entry(), selected="mine"), KEYS).resolve(None)
    assert (chosen.id, model, chosen.base_url) == ("mine", "large", "https://models.example/v1")
    assert chosen.models == ("large", "small")


def test_without_a_selection_the_environment_wins_over_the_file() -> None:
    assert choose(_file(_entry()), KEYS).resolve(None)[0].id == "anthropic"


def test_without_an_environment_the_first_usable_profile_of_the_file_is_taken() -> None:
    keyless = _entry("keyless", apiKey="")
    assert choose(_file(keyless, _entry()), ProviderEnv(), OLLAMA).resolve(None)[0].id == "mine"


def test_a_local_ollama_comes_before_offline() -> None:
    assert choose(None, ProviderEnv(), OLLAMA).resolve(None) == (OLLAMA, "qwen3:8b")
    assert choose(None, ProviderEnv()).resolve(None)[0].id == "offline"


def test_the_environment_gives_models_addresses_and_limits() -> None:
    env = ProviderEnv(
        openai_api_key="k",
        openai_base_url="http://127.0.0.1:4010/v1",
        openai_model="gpt-x",
        anthropic_base_url="http://127.0.0.1:4011",
        anthropic_context_window=500_000,
        anthropic_max_tokens=4096,
    )
    found = {each.id: each for each in choose(None, env).profiles}
    assert found["openai"].models == ("gpt-x",)
    assert found["openai"].base_url == "http://127.0.0.1:4010/v1"
    assert found["anthropic"].models == (ANTHROPIC_MODEL,)
    assert (found["anthropic"].context_window, found["anthropic"].max_tokens) == (500_000, 4096)


def test_model_names_have_defaults() -> None:
    found = {each.id: each for each in choose(None, KEYS).profiles}
    assert found["anthropic"].models == (ANTHROPIC_MODEL,)
    assert found["openai"].models == (OPENAI_MODEL,)


def test_a_reference_names_any_profile_and_of_an_open_one_any_model() -> None:
    providers = choose(_file(_entry(), selected="mine"), KEYS)
    chosen, model = providers.resolve(ModelRef(provider="openai", model="gpt-x"))
    assert (chosen.id, model) == ("openai", "gpt-x")
    assert providers.resolve(ModelRef(provider="mine", model="small"))[1] == "small"
    assert providers.resolve(ModelRef(provider="mine", model=""))[1] == "large"


@pytest.mark.parametrize(
    ("ref", "code"),
    [
        (ModelRef(provider="gone", model="x"), "unknown_provider"),
        (ModelRef(provider="mine", model="gone"), "unknown_model"),
        (ModelRef(provider="offline", model="gone"), "unknown_model"),
        (ModelRef(provider="responses", model="large"), "not_configured"),
        (ModelRef(provider="keyless", model="large"), "not_configured"),
    ],
)
def test_what_is_named_and_missing_fails_loudly(ref: ModelRef, code: str) -> None:
    file = _file(
        _entry(), _entry("responses", api="openai-responses"), _entry("keyless", apiKey="")
    )
    with pytest.raises(FatalFault) as caught:
        choose(file, KEYS).resolve(ref)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("file", "code"),
    [
        (_file(_entry(), selected="gone"), "unknown_provider"),
        (_file(_entry(apiKey=""), selected="mine"), "not_configured"),
    ],
)
def test_a_selection_that_can_not_be_used_warns_and_is_not_replaced(file: bytes, code: str) -> None:
    providers = choose(file, KEYS)
    assert len(providers.warnings) == 1
    with pytest.raises(FatalFault) as caught:
        providers.resolve(None)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"profiles": 5}',
        b"[" * 100_000,
        b'{"profiles": [5, {}, {"id": "x"}]}',
    ],
)
def test_a_malformed_file_warns_and_falls_through(file: bytes) -> None:
    providers = choose(file, KEYS)
    assert providers.warnings
    assert providers.resolve(None)[0].id == "anthropic"


@pytest.mark.parametrize(
    ("fields", "dialect"),
    [
        ({"api": "anthropic-messages", "adapter": "openai"}, Dialect.ANTHROPIC),
        ({"api": "openai-completions", "adapter": "anthropic"}, Dialect.OPENAI_CHAT),
        ({"api": None, "adapter": "openai"}, Dialect.OPENAI_CHAT),
        ({"api": None, "adapter": "auto"}, Dialect.ANTHROPIC),
        ({"api": None}, Dialect.ANTHROPIC),
        ({"api": "azure-openai-responses"}, Dialect.UNSUPPORTED),
    ],
)
def test_the_api_decides_before_the_adapter(fields: dict[str, Any], dialect: Dialect) -> None:
    assert choose(_file(_entry(**fields)), ProviderEnv()).profiles[0].dialect is dialect


def test_a_key_may_be_named_by_its_variable() -> None:
    file = _file(_entry(apiKey="", apiKeyEnv="MY_KEY"))
    env = ProviderEnv(keys={"MY_KEY": "sk-from-variable"})
    assert choose(file, env).profiles[0].api_key == "sk-from-variable"


def test_a_local_server_needs_no_key() -> None:
    file = _file(_entry(apiKey="", baseUrl="http://localhost:8000/v1"), selected="mine")
    assert choose(file, ProviderEnv()).resolve(None)[0].id == "mine"


def test_the_mock_is_the_default_when_asked_for() -> None:
    env = ProviderEnv(mock=True, anthropic_api_key="k")
    assert choose(_file(_entry(), selected="mine"), env).resolve(None)[0].id == "mock"


def test_a_probe_is_worth_it_only_without_another_default() -> None:
    assert needs_probe(None, ProviderEnv())
    assert needs_probe(None, ProviderEnv(ollama_host="box:11434", openai_api_key="k"))
    assert not needs_probe(None, KEYS)
    assert not needs_probe(_file(_entry(), selected="mine"), ProviderEnv())


def test_descriptions_and_representations_hold_no_key() -> None:
    entry = _entry(baseUrl="https://user:hunter2pass@models.example/v1")
    providers = choose(_file(entry), KEYS)
    shown = json.dumps(providers.describe()) + repr(providers) + repr(KEYS)
    for secret in ("sk-file-secret", "sk-ant-secret", "sk-openai-secret"):
        assert secret not in shown
    assert "hunter2pass" not in json.dumps(providers.describe())
    assert [each["key"] for each in providers.describe()] == ["set", "set", "set", "none"]


def test_a_file_may_say_what_its_models_cost():
    models: list[Any] = [
        "plain",
        {"id": "full", "cost": {"input": 3, "output": 15, "cacheRead": 0.3, "cacheWrite": 3.75}},
        {"id": "short", "cost": {"input": 0.1, "output": 0}},
        {"id": "half", "cost": {"input": 1}},
        {"id": "negative", "cost": {"input": 1, "output": -1}},
        {"id": "words", "cost": {"input": "free", "output": 1}},
        {"id": "true", "cost": {"input": True, "output": 1}},
        {"id": "bad-cache", "cost": {"input": 1, "output": 1, "cacheRead": "?"}},
    ]
    entry = {"id": "own", "baseUrl": "https://own.example", "apiKey": "k", "models": models}
    found = choose(json.dumps({"profiles": [entry]}).encode(), ProviderEnv())
    own = next(one for one in found.profiles if one.id == "own")
    assert own.prices == {
        "full": TokenPrices(Decimal(3), Decimal(15), Decimal("0.3"), Decimal("3.75")),
        "short": TokenPrices(Decimal("0.1"), Decimal(0)),
    }
    refused = [text.split("'")[1] for text in found.warnings]
    assert refused == ["half", "negative", "words", "true", "bad-cache"]
