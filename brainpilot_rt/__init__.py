"""brainpilot-rt: a team of agents on one machine, with letters on disk and one durable log.

The rooms of the package and who may import whom are drawn in ARCHITECTURE.md and held by the import
linter.
Importing this module imports nothing else, so that `brainpilot-rt --help` and `version` answer at
once; the public names are fetched from their rooms when they are first asked for. What types they
have stands in `__init__.pyi`, which type checkers read instead.
"""

__version__ = "0.1.0"

_HOMES = {
    "AgentDefinition": "agents.definition",
    "Profile": "agents.definition",
    "RequestContext": "agents.definition",
    "define_agent": "agents.definition",
    "Reply": "daemon.session",
    "Runtime": "daemon.runtime",
    "Session": "daemon.session",
    "Tool": "tools.registry",
    "ToolContext": "tools.context",
    "ToolOutput": "tools.registry",
    "tool": "tools.functions",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(__import__(f"{__name__}.{home}", fromlist=[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
