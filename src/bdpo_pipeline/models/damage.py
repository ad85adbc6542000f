"""One clear error for a file of a model that cannot be read, whichever library noticed it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SHOWN_CHARACTERS = 300


class DamagedModelError(RuntimeError):
    """A file of the base model cannot be read; the message names it and what to do."""


@contextmanager
def clear_about_damage(what: str, path: str | Path, remedy: str) -> Iterator[None]:
    """Turn what a library raises while it reads a file into a :class:`DamagedModelError`.

    Args:
        what: the file's part, such as ``tokenizer``.
        path: file or folder.
        remedy: what to do.

    Raises:
        DamagedModelError: anything went wrong; the libraries that read model files raise errors of nearly every kind.
    """
    try:
        yield
    except DamagedModelError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:_SHOWN_CHARACTERS]
        raise DamagedModelError(
            f"the {what} in {path} cannot be read ({type(error).__name__}: {said}); {remedy}"
        ) from error
