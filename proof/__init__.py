"""The proof of what `docs/RELIABILITY.md` claims: harnesses, their oracle, and the report.

Nothing here is part of the product. `python -m proof` (`scripts/prove`) runs the stages and writes
the report; `tests/proof` runs the quick tier of each in every test run.
"""
