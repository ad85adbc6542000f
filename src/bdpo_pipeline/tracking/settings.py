"""Where runs are recorded: the `tracking` group of conf/*/tracking.yml."""

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, field_validator

from bdpo_pipeline.parameters import ParameterGroup

_SERVERS = {"http", "https", "databricks"}
_DATABASES = {"sqlite", "postgresql", "mysql", "mssql"}
SQLITE = "sqlite:///"


class TrackingSettings(ParameterGroup):
    """How MLflow is reached; no run is tracked unless ``enabled``."""

    enabled: bool = True
    tracking_uri: str = Field(
        description="a database or a server, such as sqlite:///data/mlflow.db or http://host:5000"
    )
    artifact_location: str = Field(
        description="folder for files of runs; unused with a server, which has its own"
    )
    spool: str = Field(description="folder where the records of runs wait until the store has them")
    experiment: str
    registered_model: str

    @field_validator("tracking_uri")
    @classmethod
    def _has_known_scheme(cls, uri: str) -> str:
        scheme = urlsplit(uri).scheme.split("+")[0]
        if scheme not in _SERVERS | _DATABASES:
            raise ValueError(
                f"{uri!r} names neither a database ({', '.join(sorted(_DATABASES))}) nor a server "
                f"({', '.join(sorted(_SERVERS))}); for a local file write sqlite:///<path>"
            )
        return uri

    @property
    def is_server(self) -> bool:
        """Whether a server is asked, rather than a database opened."""
        return urlsplit(self.tracking_uri).scheme in _SERVERS

    @property
    def public_uri(self) -> str:
        """The tracking URI without its password, fit for logs."""
        parts = urlsplit(self.tracking_uri)
        if "@" not in parts.netloc:
            return self.tracking_uri
        return urlunsplit(parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2]))

    def relative_to(self, project: Path) -> "TrackingSettings":
        """Return the settings with local paths made absolute, as Kedro does with those of the catalog."""
        uri = self.tracking_uri
        if uri.startswith(SQLITE):
            uri = SQLITE + str(project / uri.removeprefix(SQLITE))
        location = self.artifact_location
        if not urlsplit(location).scheme:
            location = str(project / location)
        spool = str(project / self.spool)
        return self.model_copy(update={"tracking_uri": uri, "artifact_location": location, "spool": spool})

    def page(self, experiment_id: str, run: str) -> str:
        """Return how a person gets to see a run: an address, or the command that serves it."""
        page = f"#/experiments/{experiment_id}/runs/{run}"
        if self.is_server:
            return f"{self.public_uri.rstrip('/')}/{page}"
        return f"mlflow server --backend-store-uri {self.public_uri}  (then http://127.0.0.1:5000/{page})"
