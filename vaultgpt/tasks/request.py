"""What is asked of a task that is told anything, as a pydantic model.

Apart from `vault_service`, for pydantic takes longer to load than most questions to answer.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Question(BaseModel):
    """A request that takes the fields it names and no other."""

    model_config = ConfigDict(strict=True, extra="forbid")


class Nothing(Question):
    """A request that says nothing."""
