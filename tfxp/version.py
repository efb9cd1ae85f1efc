"""The version of tfxp; equals the newest entry of docs/changelog.md (a test says so)."""

__version__ = "0.2.0"
