"""Letters on disk: codec, maildir steps, watcher, postoffice, conformance check.

Lives here: how a letter is written, found, claimed, acknowledged, released and buried; the only
user of watchfiles.
Never here: the decision whether a letter is legal. That is `brainpilot_rt.sessions`.
"""
