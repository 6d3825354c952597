"""Text as words, runs and blocks. numpy comes from here: most of what opens a ledger counts rows
alone, and numpy takes 0.1 s and 12 MB to import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
else:

    class _Numpy:
        """numpy, imported by whoever first takes a name of it."""

        def __getattr__(self, name: str) -> Any:
            import numpy

            found = getattr(numpy, name)
            setattr(self, name, found)  # from now on there without a call
            return found

    np = _Numpy()

__all__ = ["np"]
