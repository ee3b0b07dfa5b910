"""Verdicts: permissions, tool firewall stages, guardrails, budgets, approval rules.

Lives here: pure functions from a request and the rules to allowed, denied or ask.
Never here: waiting for a human, I/O, a clock.
"""
