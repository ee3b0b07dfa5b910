"""What an agent can do: registry, runner, file and shell tools, team tools, the MCP bridge.

Lives here: preparing, executing and finalizing calls, one result for each call.
Never here: policy. Verdicts come from `brainpilot_rt.governance` through a port.
"""
