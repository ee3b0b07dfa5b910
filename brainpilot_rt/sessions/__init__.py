"""The state authority: `decide`, `evolve`, the SessionManager, recovery, views, audit.

Lives here: which command is legal in which state, and what the state becomes. `decide` and `evolve`
are pure.
Never here: an import of agents, tools or models.
"""
