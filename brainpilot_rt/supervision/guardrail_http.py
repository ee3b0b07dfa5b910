"""Asking external guardrail providers, each within a deadline and with limits on what it may say.

The deadline is one on the provider, never on a turn. Whatever goes wrong becomes a finding with a
reason; what it means is the owner's choice (`fail`). No redirect is followed: the text and the key
would travel along.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Final

from brainpilot_rt.domain.errors import ProviderFault
from brainpilot_rt.domain.governing import GuardStage
from brainpilot_rt.governance.guardrails.config import GuardrailConfig, action_of
from brainpilot_rt.governance.guardrails.pipeline import Finding
from brainpilot_rt.governance.guardrails.providers import ExternalProvider, meaning, unavailable
from brainpilot_rt.models.http import Http, HttpReply

ANSWER_BYTES_MAX: Final = 64 * 1024
_OK: Final = range(200, 300)
_ELSEWHERE: Final = range(300, 400)


class GuardrailHttp:
    """The providers, asked side by side."""

    def __init__(self, http: Http, key_of: Callable[[str], str | None]) -> None:
        """`key_of`: the key of a provider by its id."""
        self._http = http
        self._key_of = key_of

    async def ask(
        self,
        providers: Sequence[ExternalProvider],
        text: str,
        stage: GuardStage,
        config: GuardrailConfig,
    ) -> tuple[Finding, ...]:
        """What those say that are to look at this stage; nothing when nobody objects."""
        wanted = [one for one in providers if action_of(config, one.id, stage)]
        if not wanted:
            return ()
        body = json.dumps({"text": text, "stage": stage}).encode()
        async with asyncio.TaskGroup() as group:
            asked = [
                group.create_task(self._ask(one, body, config.timeout_ms / 1000)) for one in wanted
            ]
        return tuple(found for one in asked if (found := one.result()))

    async def _ask(self, provider: ExternalProvider, body: bytes, wait_s: float) -> Finding | None:
        headers = {"content-type": "application/json", "accept": "application/json"}
        if key := self._key_of(provider.id):
            headers["authorization"] = f"Bearer {key}"
        try:
            async with (
                asyncio.timeout(wait_s),
                self._http.post(provider.endpoint, headers, body) as reply,
            ):
                answer = await _answer(reply)
        except TimeoutError:
            return unavailable(provider.id, f"no answer within {wait_s:g} s")
        except ProviderFault as fault:
            return unavailable(provider.id, fault.message)
        return (
            unavailable(provider.id, answer)
            if isinstance(answer, str)
            else meaning(provider, answer)
        )


async def _answer(reply: HttpReply) -> bytes | str:
    """The body; a text says why there is none."""
    if reply.status in _ELSEWHERE:
        return f"the answer is a redirect (HTTP {reply.status})"
    if reply.status not in _OK:
        return f"the answer is HTTP {reply.status}"
    if reply.headers.get("content-encoding", "identity") != "identity":
        # A few bytes could become very many.
        return "the answer is compressed, which was not asked for"
    body = bytearray()
    async for chunk in reply.chunks:
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            return f"the answer is longer than {ANSWER_BYTES_MAX:,} bytes"
    return bytes(body)
