"""A page in headless Chromium: run a script in it and read what it found."""

import html
import json
import re
import shutil
import subprocess

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium, which is not installed"
)
_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def probe(page, script, folder, width=1300, address=""):
    """What the body of a function returned, called when the page had loaded.

    Args:
        page: the page's HTML.
        script: statements that end in `return value`.
        folder: where files may be written.
        width: of the window, in pixels.
        address: the fragment that the page is opened at.
    """
    path = folder / "page.html"
    code = f"""<script>addEventListener("load", () => {{
      const click = element => element.dispatchEvent(new MouseEvent("click", {{bubbles: true}}));
      const all = (selector, read) => [...document.querySelectorAll(selector)].map(read);
      const value = (() => {{ {script} }})();
      const out = document.createElement("pre");
      out.id = "probe"; out.textContent = JSON.stringify(value); document.body.append(out);
    }});</script></body>"""
    path.write_text(page.replace("</body>", code), encoding="utf-8")
    command = [
        CHROMIUM,
        *_FLAGS,
        f"--user-data-dir={folder / 'profile'}",
        f"--window-size={width},900",
        "--virtual-time-budget=2000",
        "--dump-dom",
        path.as_uri() + address,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-500:]
    return json.loads(html.unescape(found.group(1)))
