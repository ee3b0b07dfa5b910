"""Shipped test kit: fakes, virtual time, contract suites for stores, mailboxes and providers.

Lives here: what our tests and the tests of people who build on us share.
Never here: anything the daemon needs at run time.
"""
