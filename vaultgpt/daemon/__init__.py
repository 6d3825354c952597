"""`vaultgpt serve`: one vault's watch, schedule, rounds and HTTP, in a process without torch."""
