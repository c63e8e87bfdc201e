"""Makes `tests/` importable from its sub-folders, for the helpers that tests share (`parity`, `toy`)."""
