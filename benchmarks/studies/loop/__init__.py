"""Five rounds of `attar loop` with simulated people, and two poisoned ones: the tables in docs/loop.md."""
