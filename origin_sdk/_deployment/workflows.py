"""Which of a repository's workflows is whose: several services may have a project each."""

from __future__ import annotations

import re
from collections.abc import Mapping

from origin_sdk._values.errors import InvalidRequest

__all__ = ["FIRST_WORKFLOW", "WORKFLOWS", "folder_of", "workflow_for"]

FIRST_WORKFLOW = ".github/workflows/edge-cache.yml"
WORKFLOWS = ".github/workflows/edge-cache*.yml"
"""What matches the workflows of all projects, from the top of the repository."""
_FOLDER = re.compile(r"(?m)^ *working-directory: *([^\s#].*?)(?:\s+#.*)?\s*$")


def folder_of(workflow: str) -> str:
    """Return the folder, from the top of the repository, that a workflow is for; empty if it names none."""
    found = _FOLDER.search(workflow)
    return found[1].strip("\"'") if found else ""


def workflow_for(folder: str, name: str, there: Mapping[str, str]) -> str:
    """Return where the workflow of a folder, whose Worker has a name, goes among those that are there.

    Its own stays where it is. Another's is never taken: after the first, each is named for its Worker. Raises
    :class:`InvalidRequest` if a workflow of that name is for another folder.
    """
    for path, text in there.items():
        if folder_of(text) == folder:
            return path
    # One that names no folder was edited by hand: who wrote it knows whose it is.
    if not folder_of(there.get(FIRST_WORKFLOW, "")):
        return FIRST_WORKFLOW
    path = FIRST_WORKFLOW.replace(".yml", f"-{name}.yml")
    if path in there:
        raise InvalidRequest(
            f"{path} deploys {folder_of(there[path]) or 'another project'}: give this Worker another --name"
        )
    return path
