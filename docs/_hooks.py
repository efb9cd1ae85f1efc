"""Hooks of the site: links to files of the checkout that are no pages become plain text."""

import re
from typing import Any

_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./[^)]*\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page's text as the site can show it."""
    return _OUTSIDE.sub(r"\1", markdown)
