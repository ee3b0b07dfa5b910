"""What a registered agent brings along to read, from its profile and the files put for it. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from brainpilot_rt.context.materials import Materials
from brainpilot_rt.context.references import Reference

_FIELD: Final = (
    ("domain", "Your field"),
    ("coreKnowledge", "What you know"),
    ("learnedPatterns", "What you have learnt"),
    ("projectContext", "About this project"),
    ("standards", "Standards you keep"),
)


def materials(
    body: Mapping[str, Any],
    working: Sequence[Mapping[str, Any]],
    references: Sequence[Mapping[str, Any]],
) -> Materials:
    """What a profile brings along: its metadata, and the files that were put for it."""
    metadata = object_of(body.get("metadata"))
    skill = object_of(metadata.get("skill"))
    known = [(title, _lines(skill.get(key))) for key, title in _FIELD]
    listed: object = metadata.get("workspace_files")
    found = cast("list[object]", listed) if isinstance(listed, list) else []
    files = [object_of(one) for one in found]
    named = [
        (str(one.get("filename") or one.get("path") or "file"), str(one.get("content") or ""))
        for one in [*files, *working]
    ]
    return Materials(
        skill="\n".join(f"{title}: {'; '.join(lines)}" for title, lines in known if lines),
        workspace=tuple((name, text) for name, text in named if text.strip()),
        references=tuple(
            Reference(
                name=str(one["filename"]),
                path="",
                description=str(one.get("description") or ""),
                tags=tuple(map(str, one.get("tags") or ())),
                body=str(one["content"]),
            )
            for one in references
        ),
    )


def _lines(value: object) -> list[str]:
    found = cast("list[object]", value) if isinstance(value, list) else [value] if value else []
    return [str(one) for one in found]


def object_of(value: object) -> dict[str, Any]:
    """An object, or an empty one for what is none."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
