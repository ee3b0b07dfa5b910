"""What the stages of the tool firewall look for, and the values they share.

Lives here: pure functions from a call and the owner's rules to findings.
Never here: what becomes of a finding (that is `firewall`), I/O, a clock.
"""
