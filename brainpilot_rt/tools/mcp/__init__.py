"""Tools of MCP servers: what is configured, one supervised connection each, pinned definitions.

Lives here: all that knows the Model Context Protocol, by the official SDK.
Never here: whether a call may run, what a person has approved, where a file with servers lies.
"""
