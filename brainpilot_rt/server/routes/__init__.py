"""The routes: parse what came, make one call inwards, build one answer.

Lives here: handlers grouped by what they are about, and the pydantic bodies they accept. Never
here: a rule about sessions, agents or letters; the table of routes (it is in `server/app.py`).
"""
