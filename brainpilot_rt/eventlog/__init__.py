"""The durable log: schema and migrations, the `EventLog` protocol, its stores, replay-then-follow.

Lives here: append with a gap-free `seq`, reads, tails; the only writer of the SQLite file.
Never here: business rules. The log stores events and does not judge them.
"""
