"""Varnish with xkey, as Debian has it: the cache that most is written about."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import urlsplit

from origin_sdk._development.local import answers, free_port
from origin_sdk._development.process import Process

__all__ = ["PROGRAM", "Varnish"]

PROGRAM = shutil.which("varnishd") or shutil.which("varnishd", path="/usr/sbin:/usr/local/sbin")
_START_SECONDS = 60.0
"""It compiles its configuration by gcc first."""
_CONFIG = """\
vcl 4.1;
import xkey;
backend origin {{ .host = "{host}"; .port = "{port}"; }}
sub vcl_recv {{
  if (req.method == "PURGE") {{
    set req.http.purged = xkey.purge(req.http.xkey);
    return (synth(200, req.http.purged));
  }}
}}
sub vcl_backend_response {{
{rules}
}}
"""


class Varnish:
    """A running Varnish in front of ``origin``; ``PURGE`` with a field ``xkey`` ends what has that tag.

    ``rules`` is VCL of what becomes of the origin's responses, beside Varnish's own.
    """

    def __init__(self, folder: Path, origin: str, rules: str = "") -> None:
        folder.mkdir(parents=True)
        port, at = free_port(), urlsplit(origin)
        self.url = f"http://127.0.0.1:{port}"
        config = folder / "default.vcl"
        config.write_text(_CONFIG.format(host=at.hostname, port=at.port, rules=rules), encoding="utf-8")
        # As this user: what it compiles and keeps lies in the folder.
        command: list[str | Path] = [PROGRAM or "varnishd", "-F", "-j", "none", "-n", folder / "work"]
        command += ["-a", f"127.0.0.1:{port}", "-f", config, "-s", "malloc,64m"]
        self.process = Process("varnish", command, log=folder / "varnish.log", folder=folder)
        try:
            self.process.wait_for(
                lambda: answers(self.url) or None, what="accepting connections", seconds=_START_SECONDS
            )
        except BaseException:
            self.process.stop()
            raise
