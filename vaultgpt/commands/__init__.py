"""One module for each command. They talk to the floors below and print; they hold no logic."""

PANELS = ("Begin", "Learn", "Write", "Voices", "Upkeep")  # of the help, in order
