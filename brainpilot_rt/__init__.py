"""brainpilot-rt: a team of agents on one machine, with letters on disk and one durable log.

The rooms of the package and who may import whom are drawn in ARCHITECTURE.md and held by the import
linter.
Importing this module imports nothing else, so that `brainpilot-rt --help` and `version` answer at
once.
"""

__version__ = "0.1.0"
