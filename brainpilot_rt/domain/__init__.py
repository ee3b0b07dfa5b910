"""Values every room agrees on: messages, letters, usage, phases, commands, events, errors.

Lives here: frozen models, enumerations, transition tables, and `events.py`, the one tagged union.
Never here: I/O, asyncio, a clock, randomness, or an import of any other room.
"""
