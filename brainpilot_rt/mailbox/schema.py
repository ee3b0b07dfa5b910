"""The published JSON Schema of a letter, generated from the models.

`mailbox/schema/letter.v1.json` is a copy; a test holds them equal. The top of it is what another
process may write; `$defs/Letter` is the stamped form that an external agent finds in its mailbox.
"""

import json
from typing import Any

from pydantic.json_schema import models_json_schema

from brainpilot_rt.domain.letters import AgentCard, ForeignLetter, Letter

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def letter_schema() -> dict[str, Any]:
    """The schema as a JSON value."""
    _, shared = models_json_schema(
        [(ForeignLetter, "validation"), (Letter, "validation"), (AgentCard, "validation")],
        ref_template="#/$defs/{model}",
    )
    definitions: dict[str, Any] = shared["$defs"]
    foreign: dict[str, Any] = definitions.pop("ForeignLetter")
    return {
        "$schema": _DIALECT,
        **foreign,
        "title": "Letter, mailbox protocol v1, as another process writes it",
        "$defs": definitions,
    }


def letter_schema_text() -> str:
    """The content of `mailbox/schema/letter.v1.json`."""
    return json.dumps(letter_schema(), indent=2) + "\n"
