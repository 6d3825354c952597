"""One training round from the vault as it stands to a verdict, and the mending after a crash."""
