"""The organs a run is wired from, as one value the daemon builds."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from brainpilot_rt.agents.definition import Profile
from brainpilot_rt.aiokit.sources import Clock, NewId
from brainpilot_rt.aiokit.tasks import TaskSet
from brainpilot_rt.context.materials import NONE, Materials
from brainpilot_rt.domain.ids import AgentName, SessionId
from brainpilot_rt.domain.model_calls import ModelEvent, ModelRef, ModelRequest
from brainpilot_rt.domain.passages import Passages
from brainpilot_rt.domain.trace import TraceNode
from brainpilot_rt.eventlog.port import EventLog
from brainpilot_rt.governance.access import allowed_tools
from brainpilot_rt.sessions.hub import Hub
from brainpilot_rt.sessions.manager import SessionManager
from brainpilot_rt.settings import AgentSettings, ThinkingSettings
from brainpilot_rt.supervision.conversations import Conversations
from brainpilot_rt.supervision.governing import Governing
from brainpilot_rt.supervision.liveness import Liveness
from brainpilot_rt.supervision.memories import Memories
from brainpilot_rt.supervision.secrets import Secrets
from brainpilot_rt.supervision.shown import Shown
from brainpilot_rt.supervision.skills import Skills
from brainpilot_rt.tools.breakers import Circuits
from brainpilot_rt.tools.registry import Registry
from brainpilot_rt.workspace.files import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Organs:
    """What exists, and nothing that decides."""

    manager: SessionManager
    hub: Hub
    log: EventLog
    liveness: Liveness
    conversations: Conversations
    stream: Callable[[ModelRequest], AsyncIterator[ModelEvent]]
    model_of: Callable[[str | None, str | None], ModelRef | None]
    """(provider id, model id) a session is bound to -> the model; raises when it is gone."""
    tools: Callable[[SessionId, AgentName], Awaitable[Registry]]
    """Every tool there is for an agent of a session; the first call may have to wait for the probe
    of the sandbox, and for MCP servers to connect."""
    search: Callable[[SessionId, Workspace, str, int], Awaitable[Passages]]
    workspace: Callable[[SessionId], Workspace]
    memories: Memories
    """What each session remembers."""
    skills: Skills
    """What a session knows of skills."""
    shown: Shown
    """What agents were shown, and where their sources are read."""
    profile: Callable[[str], Profile]
    """Role -> profile."""
    prompts: Callable[[], Mapping[str, str]]
    """Texts of personas the user has overridden, by agent name, as they are now."""
    trace_nodes: Callable[[SessionId], Sequence[TraceNode]]
    """Nodes of a session's reasoning graph, in the order of their creation."""
    load_trace: Callable[[SessionId], Awaitable[Sequence[TraceNode]]]
    """Read them from the log if need be."""
    destroy: Callable[[SessionId, AgentName, AgentName], Awaitable[None]]
    """(session, agent, by): stop an agent's run, then the agent."""
    tasks: TaskSet
    clock: Clock
    new_id: NewId
    settings: AgentSettings
    thinking: ThinkingSettings
    attempts_max: int
    governing: Governing
    """Records, money, routing, guardrails, rules for tools, approvals."""
    circuits: Circuits = field(default_factory=Circuits)
    materials: Callable[[AgentName], Materials] = lambda _agent: NONE
    """What a registered agent brings along to read."""
    free: Callable[[ModelRef | None], bool] = lambda _model: False
    """Whether a call of this model (None: the default) costs nothing."""
    secrets: Secrets = field(default_factory=Secrets)
    gauges: Callable[[], Mapping[str, float]] = dict[str, float]
    """More numbers for `/metrics`, by name."""
    grants: Callable[[str], frozenset[str]] = allowed_tools
    """Role -> names of the built-in tools it may use."""
