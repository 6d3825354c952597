"""Bytes sealed for another machine's disk, by Fernet of the package cryptography.

Its one recipe (AES and HMAC under a random key) leaves nothing to choose. Knows nothing about what
is sealed, nor about torch.
"""

from __future__ import annotations

from vaultgpt.errors import TrainingError, require_package


def require_sealing() -> None:
    """TrainingError, with the command that brings it, without the package."""
    require_package("cryptography", "Learning on another machine", TrainingError)


def new_key() -> str:
    """A key for one lesson and what comes of it. TrainingError without the package for it."""
    require_sealing()
    from cryptography.fernet import Fernet

    made: str = Fernet.generate_key().decode("ascii")
    return made


def seal(data: bytes, key: str) -> bytes:
    """Encrypted and authenticated, as ASCII. TrainingError without the package for it."""
    require_sealing()
    from cryptography.fernet import Fernet

    sealed: bytes = Fernet(key).encrypt(data)
    return sealed


def unseal(sealed: bytes, key: str) -> bytes:
    """The inverse. TrainingError for another key, or for bytes that were changed on the way."""
    require_sealing()
    from cryptography.fernet import Fernet, InvalidToken

    try:
        opened: bytes = Fernet(key).decrypt(sealed)
    except (InvalidToken, ValueError):
        raise TrainingError(
            "What came from the other machine can't be read.", "Run the round again."
        ) from None
    return opened
