"""What the author is told: does it sound like me, does it obey a tag, does it copy?

The parent side (measure, store, plot) never imports torch; the worker's process does.
"""
