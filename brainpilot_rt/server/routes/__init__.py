"""The routes: parse what came, make one call inwards, build one answer.

Lives here: handlers grouped by what they are about, and the bodies they accept.
Never here: a rule about sessions, agents or letters; the table of routes (`server/app.py`).
"""
