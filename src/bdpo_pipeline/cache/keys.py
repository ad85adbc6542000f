"""What a cached log-prob depends on, and nothing else: weights, token ids with what is scored, and numerics."""

import hashlib
from collections.abc import Sequence

# Raised when the engine's arithmetic changes in a way that moves log-probs by more than rounding.
ENGINE_NUMERICS = 3


def response_key(
    weights_sha256: str, precision: str, context: Sequence[int], response: Sequence[int]
) -> bytes:
    """Return the 16-byte key of log pi(response | context), with every response token scored and no context token.

    ``precision`` names the dtype of the base weights and how they are quantised, if they are. The learning rate, the pair that the
    response stands in, or the path of the model may change without touching the key.
    """
    import numpy as np

    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{ENGINE_NUMERICS}/{weights_sha256}/{precision}/{len(context)}/".encode())
    digest.update(np.asarray(context, np.int32).tobytes())
    digest.update(np.asarray(response, np.int32).tobytes())
    return digest.digest()
