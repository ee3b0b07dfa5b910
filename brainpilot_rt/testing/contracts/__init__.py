"""Contract suites: what every implementation of a port must do, as classes of tests to inherit.

Lives here: tests that know the port only. A subclass in the tests supplies the implementation.
Never here: how one implementation does it.
"""
