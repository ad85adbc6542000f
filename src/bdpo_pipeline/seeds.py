"""One seed in globals; every random stream of the project is derived from it by name."""

import hashlib


def derive_seed(root: int, stream: str) -> int:
    """Return the seed of a named stream, in [0, 2**31).

    Args:
        root: the project's one seed.
        stream: dotted name of the stream, such as ``training.order``. Different names give independent seeds.
    """
    digest = hashlib.blake2b(f"{root}/{stream}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") % 2**31
