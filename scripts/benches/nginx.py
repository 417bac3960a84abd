"""nginx with `proxy_cache`, as it is installed here: what operators know."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from origin_sdk._development.local import answers, free_port
from origin_sdk._development.process import Process

__all__ = ["PROGRAM", "Nginx"]

PROGRAM = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
_START_SECONDS = 10.0
_CONFIG = """\
daemon off;
worker_processes 1;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/client;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 10000000;
  proxy_cache_path {folder}/cache levels=1:2 keys_zone=bench:32m;
  upstream origin {{ server {origin}; keepalive 16; }}
  server {{
    listen 127.0.0.1:{port};
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $host;
    proxy_cache bench;
    add_header X-Cache $upstream_cache_status;
    {locations}
  }}
}}
"""
_COLLAPSING = {"/": ("proxy_cache_lock on",)}


class Nginx:
    """A running nginx with one worker process in front of ``origin``.

    ``locations`` are directives by the beginning of paths, beside those of a plain cache.
    """

    def __init__(
        self,
        folder: Path,
        origin: str,
        locations: Mapping[str, Sequence[str]] = MappingProxyType(_COLLAPSING),
    ) -> None:
        folder.mkdir(parents=True)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        config = folder / "nginx.conf"
        # Root's nginx would give its rights away, and then could not write into the folder.
        user = "user root;" if Path("/proc/self").stat().st_uid == 0 else ""
        config.write_text(
            _CONFIG.format(
                folder=folder,
                origin=urlsplit(origin).netloc,
                port=port,
                user=user,
                locations="\n    ".join(_location(path, told) for path, told in locations.items()),
            ),
            encoding="utf-8",
        )
        command: list[str | Path] = [PROGRAM or "nginx", "-c", config, "-e", folder / "error.log"]
        self.process = Process("nginx", command, log=folder / "nginx.log", folder=folder)
        try:
            self.process.wait_for(
                lambda: answers(self.url) or None, what="accepting connections", seconds=_START_SECONDS
            )
        except BaseException:
            self.process.stop()
            raise


def _location(path: str, directives: Sequence[str]) -> str:
    own = "".join(f" {directive};" for directive in directives)
    return f"location {path} {{ proxy_pass http://origin;{own} }}"
