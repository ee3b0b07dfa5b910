"""Asyncio and file tools that know nothing of us: tasks, broadcast, limits, durable files.

Lives here: what would serve any asyncio program, and the only calls of the clock and of id
generators.
Never here: a word of our domain (letter, run, agent, session), or an import of any other room.
"""
