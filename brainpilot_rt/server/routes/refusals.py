"""Routes about model providers: what is configured, what there is to configure, and what is not.

Profiles are the user's own file (`bp_template/providers.json`) and environment: no route writes
there, and none takes a key over HTTP. What has no place on the machine of one user at all is in
`server/absent.py`.
"""

import asyncio
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from brainpilot_rt.domain.errors import NotFound
from brainpilot_rt.models.catalogue import catalogue
from brainpilot_rt.server.idempotency import json_response
from brainpilot_rt.server.ports import Backend
from brainpilot_rt.server.resources import Row

NO_KEYS: Final = (
    "keys of model providers are not taken over HTTP: write the profile into "
    "bp_template/providers.json in the data directory, or set the key in the environment; it "
    "counts from the next run on"
)


class ProviderRoutes:
    """Handlers about model providers."""

    def __init__(self, backend: Backend) -> None:
        self._providers = backend.oversight.insight.providers

    async def index(self, _request: Request) -> Response:
        """GET /v1/providers: the profiles, without keys."""
        listed = self._providers().describe()
        return json_response((200, {"providers": listed, "total": len(listed)}))

    async def catalogue(self, _request: Request) -> Response:
        """GET /v1/providers/catalog: providers with list prices."""
        listed = await asyncio.to_thread(catalogue)
        configured = {one.id for one in self._providers().profiles if not one.problem}
        rows: list[dict[str, Any]] = [
            {**one, "configured": one["id"] in configured} for one in listed
        ]
        return json_response((200, {"providers": rows, "total": len(rows)}))

    async def refuse(self, _request: Request) -> Response:
        """POST /v1/providers, POST /v1/providers/test and DELETE /v1/providers/{provider}."""
        raise NotFound(NO_KEYS, code="unsupported")


def provider_rows(to: ProviderRoutes) -> list[Row]:
    """The routes about model providers."""
    here, no = "/v1/providers", {404: NO_KEYS}
    return [
        Row("GET", here, to.index, "Configured providers", {200: "found"}),
        Row("GET", f"{here}/catalog", to.catalogue, "Providers and prices", {200: "found"}),
        Row("POST", here, to.refuse, "Not offered: keys stay in files", no),
        Row("POST", f"{here}/test", to.refuse, "Not offered: keys stay in files", no),
        Row("DELETE", f"{here}/{{provider}}", to.refuse, "Not offered: edit the file", no),
    ]
