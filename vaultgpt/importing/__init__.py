"""Years of writing from other programs: what they export, read into notes of a vault.

Nothing that is there is changed: neither the source nor any note. Knows nothing about terminals.
"""
