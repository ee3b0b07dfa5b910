"""What an external provider may be registered as, and what its answers mean."""

import json
from typing import Any

import pytest

from brainpilot_rt.domain.errors import BadRequest
from brainpilot_rt.governance.guardrails.providers import (
    describe_templates,
    meaning,
    parse_provider,
    provider_json,
)

WHERE = {"id": "acme", "endpoint": "https://guard.example/v1/check"}


def test_a_provider_is_kept_without_its_key() -> None:
    provider, key = parse_provider(WHERE | {"name": "Acme", "api_key": "k-1", "extra": 1})
    assert key == "k-1"
    kept = provider_json(provider)
    assert "k-1" not in str(kept)
    assert parse_provider(kept) == (provider, None)


@pytest.mark.parametrize(
    ("mapping", "answer", "finding"),
    [
        ({"safe": "$.r.safe"}, {"r": {"safe": False}}, (1.0, "Acme calls it unsafe")),
        ({"safe": "!$.r[1].bad"}, {"r": [{}, {"bad": True}]}, (1.0, "Acme calls it unsafe")),
        ({"safe": "$.v", "confidence": "$.c[0]"}, {"v": "BLOCK", "c": [0.5]}, (0.5, "Acme ")),
        ({"safe": "$.v", "reason": "$.why"}, {"v": "unsafe", "why": "x" * 900}, (1.0, "x" * 200)),
        ({"safe": "$.v"}, {"v": "allow"}, None),
        ({"safe": "!$.flagged"}, {"flagged": False}, None),
    ],
)
def test_the_mapping_says_where_the_verdict_stands(
    mapping: dict[str, str], answer: Any, finding: tuple[float, str] | None
) -> None:
    provider, _ = parse_provider(WHERE | {"name": "Acme", "result_mapping": mapping})
    found = meaning(provider, json.dumps(answer).encode())
    if finding is None or found is None:
        assert found is finding
    else:
        assert found.confidence == finding[0]
        assert found.reason.startswith(finding[1])
        assert len(found.reason) <= 200


def test_every_template_is_a_mapping_that_can_be_registered() -> None:
    for one in describe_templates():
        provider, _ = parse_provider(WHERE | {"template": one["id"]})
        assert provider.result_mapping.model_dump() == one["result_mapping"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"endpoint": "file:///etc/passwd"},
        {"endpoint": "ftp://guard.example"},
        {"endpoint": "https://user:key@guard.example"},
        {"endpoint": "guard.example/check"},
        {"endpoint": 7},
        {"endpoint": "http://[::1"},
        {"endpoint": "http://guard.example:99999"},
        {"id": "a b"},
        {"template": "nonsense"},
        {"api_key": "two\nlines"},
        {"api_key": 5},
        {"result_mapping": "$.safe"},
        {"result_mapping": {"safe": "$..safe"}},
        {"result_mapping": {"safe": "safe"}},
        {"result_mapping": {"unknown": "$.x"}},
    ],
)
def test_a_provider_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        parse_provider(WHERE | wrong)
