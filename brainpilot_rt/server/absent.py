"""Paths other servers have and this one does not: whoever asks is told why."""

import re
from typing import Final

_ABSENT: Final = tuple(
    (re.compile(pattern), why)
    for pattern, why in (
        (
            r"/v1/vaults(/.*)?",
            "there are no vaults: secrets of tools stay with the daemon, and no agent sees them",
        ),
        (
            r"/v1/memory_stores(/.*)?",
            "there are no memory stores: memory belongs to sessions and agents here",
        ),
        (
            r"/v1/(deployments|deployment_runs)(/.*)?",
            "there is nothing to deploy to: everything runs where the daemon runs",
        ),
        (
            r"/v1/environments/[^/]+/work(/.*)?",
            "this environment runs on the machine of the daemon: there is no work to fetch",
        ),
        (
            r"/v1/sessions/[^/]+/resources(/.*)?",
            "nothing is mounted into sessions: files go through /sessions/{id}/files",
        ),
        (
            r"/v1/presets(/.*)?",
            "there are no presets: name a model, or `auto`; [routing] in the settings has the rest",
        ),
        (
            r"/v1/prompts(/.*)?",
            "there is no store of prompts: they are files of the work tree and of bp_template",
        ),
        (
            r"/v1/observability(/.*)?",
            "nothing is sent anywhere: read /metrics, follow /events, keep /sessions/{id}/export",
        ),
        (
            r"/v1/governance/compliance/.*",
            "nothing is scanned for a standard: /v1/governance/audit has what was done",
        ),
    )
)


def reason(path: str) -> str | None:
    """Why there is nothing at a path somebody may expect; None for any other."""
    return next((why for pattern, why in _ABSENT if pattern.fullmatch(path)), None)
