"""Routes about model providers: what is configured, what costs how much, and what is refused."""

from typing import Any

import pytest

from tests.unit.server.test_memory import call
from tests.unit.server.world import serving


async def test_configured_providers_are_listed_without_keys():
    async with serving() as server:
        status, body = await call(server, "GET", "/v1/providers")
    assert (status, [one["id"] for one in body["providers"]]) == (200, ["offline"])
    assert body["providers"][0]["key"] == "none"


@pytest.mark.realtime
async def test_the_catalogue_has_list_prices():
    async with serving() as server:
        status, body = await call(server, "GET", "/v1/providers/catalog")
    anthropic = next(one for one in body["providers"] if one["id"] == "anthropic")
    prices = [one["input_usd_per_mtok"] for one in anthropic["models"]]
    assert (status, anthropic["configured"]) == (200, False)
    assert all(one is not None and one > 0 for one in prices)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/providers"),
        ("POST", "/v1/providers/test"),
        ("DELETE", "/v1/providers/groq"),
        ("GET", "/v1/presets"),
        ("POST", "/v1/presets/fast/simulate"),
        ("PUT", "/v1/prompts/p1"),
        ("POST", "/v1/prompts/p1/ab-test"),
        ("GET", "/v1/observability/config"),
        ("GET", "/v1/observability/templates/datadog"),
        ("POST", "/v1/governance/compliance/scan"),
    ],
)
async def test_what_one_machine_has_no_use_for_is_refused_by_type_and_says_what_to_do(
    method: str, path: str
):
    async with serving() as server:
        body: Any = {"provider": "groq", "api_key": "gsk"} if method == "POST" else None
        status, problem = await call(server, method, path, body)
    assert (status, problem["error"]["type"]) == (404, "unsupported")
    assert len(problem["error"]["message"]) > 40
