"""Path-safe access to the files of a session: work tree, uploads, logical roots.

Lives here: directory-descriptor walks that no symlink leaves, and the names `/workspace` and
`/data`.
Never here: path checks by string prefix, or knowledge of who asks.
"""
