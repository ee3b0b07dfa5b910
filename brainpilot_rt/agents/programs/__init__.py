"""How an agent answers a letter, one program per file, from `respond` to `plan_execute`.

Lives here: the order of turns of each program, built from the turn loop.
Never here: a second turn loop, storage, transport.
"""
