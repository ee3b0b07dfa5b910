"""Commands of the terminal: parse, call the daemon, print. Data on stdout, talk on stderr.

Lives here: click commands and their rendering. They talk HTTP, except `serve` (builds the daemon),
`send` and `mailbox check` (use the mailbox), and `export` and `doctor`, which read the log under
the lock of a daemon that is down.
Never here: a rule of any lower room.
"""
