"""How an agent answers a letter: which program, and what each asks of the turn loop.

Lives here: `choice` (the programs, and all that respond, react and clarify need), `research` and
`plan_execute`, as decisions.
Never here: a second turn loop, storage, transport.
"""
