"""The composition root: what exists, in the order it starts; stopped in the reverse order.

Lives here: building every part, listening, signals, the order of start and stop; uvicorn;
the same daemon inside of a program (`Runtime`).
Never here: a decision about sessions, agents or requests; something built anywhere else.
"""
