"""Projections of the log onto public wires: brainpilot, agui, agent_runs, openai.

Lives here: pure functions from events and views to frames and JSON bodies, one wire per file.
Never here: starlette, I/O, a clock, state of its own truth.
"""
