"""What can be asked of a vault, one module a task, named as its command. Knows no terminal."""
