"""The worker processes as the supervisor sees them: the mirror, the trainer, the measuring one.

Knows nothing about torch. Words of the author go through pipes, never through arguments.
"""
