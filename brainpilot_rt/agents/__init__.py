"""What an agent is and how it runs: definition, profile, the turn loop, reply folding, personas.

Lives here: the loop on one screen, written against ports for models and tools.
Never here: HTTP, SQLite, or a test for the name of a tool or of another organ inside the loop.
"""
