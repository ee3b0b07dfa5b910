"""Where the organs meet, and the only place: workers, wiring, delivery, liveness.

Lives here: connecting ports of one room to functions of another, and the lifetime of agents at
work.
Never here: a second copy of any rule that a lower room owns.
"""
