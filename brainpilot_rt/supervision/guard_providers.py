"""External guardrail providers: registered over HTTP, kept as records, their keys in the vault."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from brainpilot_rt.domain.errors import Conflict, NotFound
from brainpilot_rt.domain.governing import GuardStage
from brainpilot_rt.governance.guardrails.config import GuardrailConfig, action_of
from brainpilot_rt.governance.guardrails.pipeline import Finding
from brainpilot_rt.governance.guardrails.providers import (
    ExternalProvider,
    parse_provider,
    provider_json,
)
from brainpilot_rt.supervision.guardrail_http import GuardrailHttp
from brainpilot_rt.supervision.records import Records
from brainpilot_rt.supervision.vault import Vault

KIND: Final = "guardrail_provider"
BUILT_IN: Final = tuple(one.id for one in GuardrailConfig().checks)


class GuardProviders:
    """Implements `ExternalGuards` over what is registered now."""

    def __init__(self, records: Records, vault: Vault, http: GuardrailHttp) -> None:
        """`http` asks for keys at `key_of`."""
        self._records = records
        self._vault = vault
        self._http = http
        self._listed: tuple[ExternalProvider, ...] | None = None
        records.listen(self._changed)

    def listed(self) -> tuple[ExternalProvider, ...]:
        """All of them, oldest first."""
        if self._listed is None:
            kept = self._records.of(KIND).values()
            self._listed = tuple(ExternalProvider.model_validate(one) for one in kept)
        return self._listed

    def has_key(self, provider: str) -> bool:
        """Whether a key is kept for it."""
        return self._vault.get(key_name(provider)) is not None

    async def add(self, body: Mapping[str, Any]) -> ExternalProvider:
        """Register one, or change the one of that id. `BadRequest` says what is wrong."""
        provider, key = parse_provider(body)
        if provider.id in BUILT_IN:
            raise Conflict(f"{provider.id!r} is a check of ours; choose another id")
        if key is not None:
            await self._vault.put(key_name(provider.id), key)
        await self._records.put(KIND, provider.id, provider_json(provider))
        return provider

    async def remove(self, provider: str) -> None:
        """Forget one and its key; `NotFound` when there is none."""
        if not await self._records.delete(KIND, provider):
            raise NotFound(f"there is no guardrail provider {provider[:80]!r}")
        await self._vault.delete(key_name(provider))

    def judges(self, stage: GuardStage, config: GuardrailConfig) -> bool:
        """Whether one of them looks at this stage."""
        return any(action_of(config, one.id, stage) for one in self.listed())

    async def findings(
        self, text: str, stage: GuardStage, config: GuardrailConfig
    ) -> Sequence[Finding]:
        """What they say; one that gives no verdict is a finding too."""
        return await self._http.ask(self.listed(), text, stage, config)

    def _changed(self, kind: str, _key: str, _body: object) -> None:
        if kind == KIND:
            self._listed = None


def key_name(provider: str) -> str:
    """Where its key is in the vault."""
    return f"guardrail:{provider}"
