"""Logs that a server still writes: followed line by line through every rotation, each line once.

Each file of a followed log, from its first byte to its end, is a *generation*: a replay's record in the same
journal, so that ledger, verify, audit and sealing hold as they are. ``docs/following.md`` has the cases.
"""
