"""Evaluation reports of a version, in folders of their own: not hashed into its manifest, and replaceable.

reports/<version>/<name>/...             the report's files, any depth
reports/<version>/<name>/contents.json   the sha256 of each, written last: without it there is no report
"""

import json
from pathlib import Path, PurePosixPath

from model.errors import ModelCorrupt, ModelMissing
from model.hashing import sha256_of
from model.manifest import check_version, files_of
from model.storage import Storage

CONTENTS_FILE = "contents.json"


def attach(storage: Storage, version: str, folder: Path, name: str) -> None:
    """Copy a folder in as a version's report; one of the same name is replaced.

    Raises ModelMissing if the folder is empty, ValueError if the name cannot be a folder's.
    """
    target = _path(version, name)
    hashes = {file: sha256_of(folder / file) for file in files_of(folder) if file != CONTENTS_FILE}
    if not hashes:
        raise ModelMissing(f"nothing to attach to {version} in {folder}")
    for file in hashes:
        storage.put(folder / file, f"{target}/{file}")
    storage.replace(f"{target}/{CONTENTS_FILE}", (json.dumps(hashes, indent=2) + "\n").encode())


def names(storage: Storage, version: str) -> list[str]:
    """Return the names of a version's complete reports, sorted."""
    found = storage.names(f"reports/{check_version(version)}")
    return sorted(name for name in found if storage.exists(f"reports/{version}/{name}/{CONTENTS_FILE}"))


def fetch(storage: Storage, version: str, name: str, folder: Path) -> Path:
    """Copy a report into a folder, every hash verified; return the folder.

    Raises ModelMissing if there is no such report, ModelCorrupt if it is not what its contents say: it may be
    in the middle of being replaced, then try again.
    """
    target = _path(version, name)
    try:
        contents: dict[str, str] = json.loads(storage.read(f"{target}/{CONTENTS_FILE}"))
        files = dict(contents.items())
    except FileNotFoundError:
        known = ", ".join(names(storage, version)) or "none"
        raise ModelMissing(f"version {version} has no report {name!r}; there are: {known}") from None
    except (ValueError, AttributeError) as exc:
        raise ModelCorrupt(f"{target}/{CONTENTS_FILE} in {storage.root} cannot be read: {exc!r}") from exc
    for file, expected in files.items():
        path = PurePosixPath(file)
        if path.is_absolute() or ".." in path.parts:
            raise ModelCorrupt(f"report {name} of {version}: file name {file!r} leads out of its folder")
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        try:
            storage.fetch(f"{target}/{file}", folder / file)
        except FileNotFoundError:
            raise ModelCorrupt(f"report {name} of {version}: {file} is missing; attach it again") from None
        if sha256_of(folder / file) != expected:
            raise ModelCorrupt(f"report {name} of {version}: {file} was altered; attach it again")
    return folder


def _path(version: str, name: str) -> str:
    return f"reports/{check_version(version)}/{check_version(name)}"
