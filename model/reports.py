"""Evaluation reports of a version. They are stored outside the version's folder and can be replaced.

reports/<version>/<name>/...             the report's files, at any depth
reports/<version>/<name>/contents.json   the SHA-256 of each file, written last; a report without it is incomplete
"""

import json
from pathlib import Path, PurePosixPath

from model.errors import ModelCorrupt, ModelMissing
from model.hashing import sha256_of
from model.manifest import check_version, files_of
from model.storage import Storage

CONTENTS_FILE = "contents.json"


def attach(storage: Storage, version: str, folder: Path, name: str) -> None:
    """Store a folder as a version's report, replacing one of the same name.

    Raises ModelMissing if the folder is empty, ValueError if the name is not a valid folder name.
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
    """Copy a report into a folder and verify every hash; return the folder.

    Raises ModelMissing if the report does not exist, ModelCorrupt if a file does not match contents.json. The report
    may be being replaced at that moment; retry then.
    """
    target = _path(version, name)
    try:
        contents: dict[str, str] = json.loads(storage.read(f"{target}/{CONTENTS_FILE}"))
        files = dict(contents.items())
    except FileNotFoundError:
        known = ", ".join(names(storage, version)) or "none"
        raise ModelMissing(f"version {version} has no report {name!r}; its reports are: {known}") from None
    except (ValueError, AttributeError) as exc:
        raise ModelCorrupt(f"{target}/{CONTENTS_FILE} in {storage.root} is unreadable: {exc!r}") from exc
    for file, expected in files.items():
        path = PurePosixPath(file)
        if path.is_absolute() or ".." in path.parts:
            raise ModelCorrupt(f"report {name} of {version}: file name {file!r} points outside its folder")
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
