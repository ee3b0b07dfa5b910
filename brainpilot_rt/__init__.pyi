from brainpilot_rt.agents.definition import AgentDefinition as AgentDefinition
from brainpilot_rt.agents.definition import Profile as Profile
from brainpilot_rt.agents.definition import RequestContext as RequestContext
from brainpilot_rt.agents.definition import define_agent as define_agent
from brainpilot_rt.daemon.runtime import Runtime as Runtime
from brainpilot_rt.daemon.session import Reply as Reply
from brainpilot_rt.daemon.session import Session as Session
from brainpilot_rt.tools.context import ToolContext as ToolContext
from brainpilot_rt.tools.functions import tool as tool
from brainpilot_rt.tools.registry import Tool as Tool
from brainpilot_rt.tools.registry import ToolOutput as ToolOutput

__version__: str
