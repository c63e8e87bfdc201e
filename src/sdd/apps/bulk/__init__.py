"""Many pictures edited by many processes or machines: paths in, paths out, nothing edited twice and nothing lost.

A *source* (a folder tree, a Parquet file, a tar shard) lists its pictures; some of one source that are edited together
are a *task*. A worker edits a task and commits it as *parts*: small Parquet files with the manifest's rows and the
edited pictures, each there whole or not at all. What has no part is still to be edited, by whatever run comes next.
A part is then *settled*: its pictures go where they belong, which can be done twice without harm.
"""
