"""Safety alignment by Balanced Direct Preference Optimization, as a Kedro project."""

__version__ = "0.1.0"
