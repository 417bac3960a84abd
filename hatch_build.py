"""What the build adds to the package: addresses by one setting, and a bill of materials (PEP 770)."""

from __future__ import annotations

import json
import re
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

_VENDORED = "uplot"
_RELATIVE_LINK = re.compile(r"(!?)\]\((?!https?://|#)([^)\s]+)\)")


class Addresses(MetadataHookInterface):
    """Fills readme and URLs by ``repository`` in ``[tool.hatch.metadata.hooks.custom]``."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Add what depends on the repository; without one there are no URLs, and links stay relative."""
        repository = str(self.config.get("repository", "")).rstrip("/")
        readme = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": with_links(readme, repository)}
        metadata["urls"] = addresses(repository)


class BillOfMaterials(BuildHookInterface[Any]):
    """Puts a CycloneDX document into the wheel's ``.dist-info/sboms``."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the document where the builder takes it from; an editable install needs none."""
        if self.target_name != "wheel" or version == "editable":
            return
        self._folder = tempfile.TemporaryDirectory()
        file = Path(self._folder.name, "origin-sdk.cdx.json")
        project = tomllib.loads(Path(self.root, "pyproject.toml").read_text(encoding="utf-8"))["project"]
        document = bill_of_materials(project, vendored_version(self.root))
        file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        build_data["sbom_files"].append(str(file))

    def finalize(self, _version: str, _build_data: dict[str, Any], _artifact_path: str) -> None:
        """Remove the document."""
        if folder := getattr(self, "_folder", None):
            folder.cleanup()


def addresses(repository: str) -> dict[str, str]:
    """Return the URLs of the metadata; none without a repository."""
    if not repository:
        return {}
    return {
        "Documentation": f"{repository}/tree/main/docs",
        "Changelog": f"{repository}/blob/main/CHANGELOG.md",
        "Issues": f"{repository}/issues",
        "Source": repository,
    }


def with_links(readme: str, repository: str) -> str:
    """Return a readme whose relative links lead to the repository: an index shows it elsewhere."""
    if not repository:
        return readme
    pages, raw = f"{repository}/blob/main/", f"{repository}/raw/main/"
    return _RELATIVE_LINK.sub(
        lambda found: f"{found[1]}]({raw if found[2].endswith('.png') else pages}{found[2]})", readme
    )


def vendored_version(root: str) -> str:
    """Return the version of the plotting library that the dashboard brings along, by its own first line."""
    script = Path(root, "origin_sdk", "dashboard", "page", "vendor", "uPlot.iife.min.js")
    found = re.search(r"uPlot[^\n]*?v?(\d+\.\d+\.\d+)", script.read_text(encoding="utf-8")[:500])
    if not found:
        raise ValueError(f"{script} doesn't tell its version in its first line")
    return found[1]


def bill_of_materials(project: Mapping[str, Any], vendored: str) -> dict[str, Any]:
    """Return a CycloneDX 1.6 document: the package, what is copied into it, and what its extras ask for.

    It has neither time nor serial number, so that the same source makes the same wheel.
    """
    name, version = project["name"], project["version"]
    this = f"pkg:pypi/{name}@{version}"
    copied = f"pkg:npm/{_VENDORED}@{vendored}"
    asked = sorted({_package(each) for each in _requirements(project) if not each.startswith(f"{name}[")})
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": _component("library", name, this, version, license_id=project["license"])},
        "components": [
            _component("library", _VENDORED, copied, vendored, license_id="MIT"),
            *({**_component("library", each, f"pkg:pypi/{each}"), "scope": "optional"} for each in asked),
        ],
        "dependencies": [{"ref": this, "dependsOn": [copied, *(f"pkg:pypi/{each}" for each in asked)]}],
    }


def _requirements(project: Mapping[str, Any]) -> Iterable[str]:
    return (each for extra in project["optional-dependencies"].values() for each in extra)


def _package(requirement: str) -> str:
    return re.split(r"[\[<>=~! ;]", requirement, maxsplit=1)[0].lower()


def _component(kind: str, name: str, purl: str, version: str = "", license_id: str = "") -> dict[str, Any]:
    component: dict[str, Any] = {"type": kind, "bom-ref": purl, "name": name, "purl": purl}
    if version:
        component["version"] = version
    if license_id:
        component["licenses"] = [{"license": {"id": license_id}}]
    return component
