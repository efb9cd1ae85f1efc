"""The tools of a checkout, as `tfxp.tools`; an installed package holds the folder itself."""

from pathlib import Path

__path__ = [str(Path(__file__).resolve().parent.parent / "tools")]
