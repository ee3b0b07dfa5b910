"""Which tools of MCP servers an agent names, as patterns (`supervision/crew.py` reads them). Pure.

An `mcp_toolset` of managed agents says it tool by tool; a server that is in the agent's list of
servers and in no set is there with all its tools.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from glob import escape
from typing import Any, Final, cast

from brainpilot_rt.domain.tools import FOREIGN

TOOLSET: Final = "mcp_toolset"

_Json = Mapping[str, Any]


def named(tools: Iterable[object], servers: Iterable[object]) -> list[str]:
    """What an agent may use: patterns, and with `!` what is taken away again."""
    sets = list(_sets(tools))
    said = {str(one.get("mcp_server_name")) for one in sets}
    patterns: list[str] = []
    for one in sets:
        usual = _object(one.get("default_config")).get("enabled", True) is not False
        patterns += _differing(one, usual=usual, said=_enabled)
    for one in servers:
        name = one if isinstance(one, str) else str(_object(one).get("name") or "")
        patterns += [_all_of(name)] if name and name not in said else []
    return patterns


def asking(tools: Iterable[object]) -> list[str]:
    """Which of them need a person's word for each call."""
    found: list[str] = []
    for one in _sets(tools):
        usual = _asks(_object(one.get("default_config"))) is True
        found += _differing(one, usual=usual, said=_asks)
    return found


def _differing(toolset: _Json, *, usual: bool, said: Callable[[_Json], bool | None]) -> list[str]:
    """What holds for the set, and where a tool of it has its own say."""
    server = str(toolset.get("mcp_server_name"))
    patterns = [_all_of(server)] if usual else []
    for config in _list(toolset.get("configs")):
        own = said(_object(config))
        if own is not None and own != usual:
            tool = f"{escape(f'{FOREIGN}{server}__')}{escape(str(_object(config).get('name')))}"
            patterns.append(f"!{tool}" if usual else tool)
    return patterns


def _enabled(config: _Json) -> bool | None:
    value = config.get("enabled")
    return value if isinstance(value, bool) else None


def _asks(config: _Json) -> bool | None:
    policy = _object(config.get("permission_policy")).get("type")
    return None if policy is None else policy == "always_ask"


def _all_of(server: str) -> str:
    return f"{escape(f'{FOREIGN}{server}__')}*"


def _sets(tools: Iterable[object]) -> Iterator[_Json]:
    for one in tools:
        if (toolset := _object(one)).get("type") == TOOLSET and toolset.get("mcp_server_name"):
            yield toolset


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _object(value: object) -> _Json:
    return cast("_Json", value) if isinstance(value, dict) else {}
