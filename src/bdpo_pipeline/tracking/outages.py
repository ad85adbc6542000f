"""What an error of the store means: that it cannot be had now, or that it will never take this entry."""

import re
import socket
import sqlite3
from pathlib import Path
from urllib.parse import urlsplit

from bdpo_pipeline.tracking.settings import SQLITE, TrackingSettings

_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
_PROBE_SECONDS = 3.0
# Answers that a later request may not get: rights are granted, limits pass, a proxy finds its server again.
_PASSING = {401, 403, 404, 407, 408, 409, 425, 429, 499}
# MLflow gives codes of its own to the statuses that it knows, and a message to the others.
_UNKNOWN_STATUS = re.compile(r"failed with error code (\d{3}) !=")


class StoreOutageError(RuntimeError):
    """The store cannot be reached, or takes nothing at the moment."""


def check_reachable(settings: TrackingSettings) -> None:
    """Find out in a moment whether the store can be written to, where MLflow's own patience would take minutes.

    Raises:
        StoreOutageError: it cannot.
    """
    parts = urlsplit(settings.tracking_uri)
    scheme = parts.scheme.partition("+")[0]
    try:
        if settings.tracking_uri.startswith(SQLITE):
            _check_unlocked(Path(settings.tracking_uri.removeprefix(SQLITE)))
        elif parts.hostname is not None and scheme in _PORTS:
            address = (parts.hostname, parts.port or _PORTS[scheme])
            socket.create_connection(address, timeout=_PROBE_SECONDS).close()
    except (OSError, sqlite3.Error) as error:
        raise StoreOutageError(f"{type(error).__name__}: {error}") from error


def is_outage(error: Exception) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, StoreOutageError):
        return True
    from mlflow.exceptions import MlflowException
    from requests import HTTPError, RequestException
    from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

    if isinstance(error, MlflowException):
        if isinstance(error.__cause__, SQLAlchemyError):
            return not isinstance(error.__cause__, DataError | IntegrityError)
        unknown = _UNKNOWN_STATUS.search(str(error))
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        return _is_passing(int(unknown[1]) if unknown else error.get_http_status_code())
    if isinstance(error, HTTPError) and error.response is not None:
        return _is_passing(error.response.status_code)
    # A file that is gone is one of ours; a full or read-only disk is the store's.
    return isinstance(error, RequestException | SQLAlchemyError | OSError) and not isinstance(
        error, FileNotFoundError
    )


def _is_passing(status: int) -> bool:
    return status >= 500 or status in _PASSING


def _check_unlocked(database: Path) -> None:
    if not database.exists():
        return
    connection = sqlite3.connect(database, timeout=1)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.rollback()
    finally:
        connection.close()
