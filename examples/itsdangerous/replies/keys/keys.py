from __future__ import annotations

import collections.abc as cabc
import secrets

from .encoding import base64_encode

_fewest_bytes = 16


def generate_key(nbytes: int = 32) -> str:
    """Generate a random secret key. The key is text that is safe to use
    in environment variables, JSON files and URLs.

    :param nbytes: How many random bytes the key holds, at least 16.

    .. versionadded:: 2.3
    """
    if nbytes < _fewest_bytes:
        raise ValueError(f"A key must hold at least {_fewest_bytes} bytes.")

    return base64_encode(secrets.token_bytes(nbytes)).decode("ascii")


def rotate_keys(keys: str | cabc.Iterable[str], keep: int = 3) -> list[str]:
    """Add a generated key to a list of keys and remove the oldest ones.
    The result is a new list that can be passed as ``secret_key`` to a
    signer or serializer.

    :param keys: The keys in use, oldest to newest, or a single key.
    :param keep: How many keys the result holds at most, including the
        new one.

    .. versionadded:: 2.3
    """
    if keep < 1:
        raise ValueError("At least one key must be kept.")

    if isinstance(keys, str):
        keys = [keys]

    return [*keys, generate_key()][-keep:]
