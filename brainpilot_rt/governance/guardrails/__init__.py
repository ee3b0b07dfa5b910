"""Guardrails: a look at what goes in and out of models and tools, and what is done about it.

Lives here: checks (functions from a text to hits), the verdict over all of them, the same verdict
for a text that streams, the configuration, what an external provider's answer means.
Never here: asking that provider (`supervision/guardrail_http.py`), I/O, a clock.
"""
