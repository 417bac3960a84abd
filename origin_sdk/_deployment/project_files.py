"""The files of a new project, as texts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from string import Template

from origin_sdk._deployment.frameworks import Framework
from origin_sdk._deployment.pins import COMPATIBILITY_DATE, NODE_VERSION, WRANGLER_VERSION
from origin_sdk._deployment.shield_config import SHIELD_FILE
from origin_sdk._deployment.workflows import FIRST_WORKFLOW

__all__ = ["Wishes", "project_files", "shared_files"]

_NAMES = {
    "wrangler.toml": "wrangler.toml",
    "origin-sdk.txt": "origin-sdk.txt",
    "package.json": "package.json",
    "pyproject.toml": "pyproject.toml",
    ".dev.vars.example": "dev.vars.example",
    ".gitignore": "gitignore",
    "README.md": "README.md",
}
_NAMES_OF_TEMPLATE = {
    **_NAMES,
    "wrangler.toml": "wrangler-template.toml",
    "package.json": "package-template.json",
    "README.md": "README-template.md",
}
"""For Cloudflare's deploy button and `npm create cloudflare`: one environment, at the top level."""
_EXAMPLE = """\
# [[{table}.RULES]]
# name = "catalogue"
# path = "/products/**"
# query_drop = ["utm_*", "fbclid"]
# default_lifetime = "1m"
# stale_while_revalidate = "5m"
"""
_CI = {
    "github": "`{workflow}` does the same.",
    "gitlab": "`gitlab-ci.yml` does the same, once `.gitlab-ci.yml` includes it.",
    "none": "",
}
_DEPLOY = "wrangler deploy --env production"
_DEPLOY_BOTH = f"origin-sdk build && wrangler deploy --config {SHIELD_FILE} --env production && {_DEPLOY}"
_SHIELD = "shield"
_OF_THE_SHIELD = re.compile(r"(?m)^%shield ?(.*\n)")
"""A line of a template that only a project with a shield has."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a project shall be: the Worker's name, versions, and addresses of the service.

    ``folder`` is where it lies in the repository, ``.`` for its top. With a ``template_url`` it is a
    template, which is published at that address.
    """

    name: str
    folder: str
    framework: Framework
    version: str
    origin: str
    production_origin: str
    ci: str
    template_url: str = ""
    has_shield: bool = False
    workflow: str = FIRST_WORKFLOW
    """Where GitHub's workflow goes, from the top of the repository."""


def project_files(wishes: Wishes, hooks: str) -> Mapping[str, str]:
    """Return the files of the project's folder."""
    values, names = _values(wishes), _NAMES_OF_TEMPLATE if wishes.template_url else _NAMES
    found = {path: _filled(template, values) for path, template in names.items()}
    if wishes.ci == "gitlab":
        found["gitlab-ci.yml"] = _filled("gitlab-ci.yml", values)
    return {**found, "worker/hooks.py": hooks}


def shared_files(wishes: Wishes) -> Mapping[str, str]:
    """Return the files that have to lie at the top of the repository."""
    if wishes.ci != "github":
        return {}
    return {wishes.workflow: _filled("github.yml", _values(wishes))}


def _values(wishes: Wishes) -> Mapping[str, str]:
    return {
        _SHIELD: "yes" if wishes.has_shield else "",
        "name": wishes.name,
        "folder": wishes.folder,
        # In front of the paths of its files, as the hosts match them.
        "prefix": "" if wishes.folder == "." else f"{wishes.folder}/",
        "version": wishes.version,
        "origin": wishes.origin,
        "production_origin": wishes.production_origin,
        "compatibility_date": COMPATIBILITY_DATE,
        "wrangler_version": WRANGLER_VERSION,
        "node_version": ".".join(map(str, NODE_VERSION)),
        "rules": _rules(wishes.framework, "vars"),
        "staging_rules": _rules(wishes.framework, "env.staging.vars"),
        "production_rules": _rules(wishes.framework, "env.production.vars").rstrip("\n"),
        "service": _text(f"service-{wishes.framework.name}.md").rstrip("\n"),
        "ci": _CI[wishes.ci].format(workflow=wishes.workflow),
        "deploy": _DEPLOY_BOTH if wishes.has_shield else _DEPLOY,
        "repository": wishes.template_url,
    }


def _rules(framework: Framework, table: str) -> str:
    rules = "".join(f"[[{table}.RULES]]\n{rule}\n\n" for rule in framework.rules)
    return rules + (_EXAMPLE.format(table=table) if table == "vars" else "")


def _filled(template: str, values: Mapping[str, str]) -> str:
    text = _OF_THE_SHIELD.sub(r"\1" if values[_SHIELD] else "", _text(template))
    return Template(text).substitute(values).rstrip("\n") + "\n"


def _text(template: str) -> str:
    return (files("origin_sdk._deployment") / "template" / template).read_text(encoding="utf-8")
