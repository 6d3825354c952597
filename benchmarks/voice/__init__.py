"""Does it sound like the author? One module a question; README.md lists them with their costs."""
