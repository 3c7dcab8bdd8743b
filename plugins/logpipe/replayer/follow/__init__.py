"""Logs that a server still writes: followed line by line through every rotation, each line once.

Each file of a followed log, from its first byte to its end, is a *generation*: a replay's record in the same
journal, so that ledger, verify, audit and sealing hold as they are. ``docs/following.md`` has the cases.

Read `engine` first, which has the logs and the threads, then `log`: one log, made of `finder`, `looker` and
`sender` over its `state`. Every log sends and records by the `office`.
"""
