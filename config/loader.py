"""Read the configuration file and the environment into `Settings`, and report every fault at once."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from config.commitment import commitment_faults
from config.comparison import comparison_faults
from config.peers import KIND_MARK, PEER_KINDS, DicomwebPeerSettings
from config.settings import Settings
from core.errors import ConfigurationError

#: ``LESION_NODE__NODE__PORT=104`` overrides ``port`` in ``[node]``; list items are counted from 0.
ENVIRONMENT_PREFIX = "LESION_NODE__"
#: Keys whose values are never shown, and taken from the environment letter by letter.
_SECRETS = frozenset({"password", "token", "secret"})


def load_settings(path: Path | None, environment: Mapping[str, str]) -> Settings:
    """Read the settings.

    Parameters
    ----------
    path
        The TOML file; None to take everything from the environment and the defaults.
    environment
        Variables that override the file, see `ENVIRONMENT_PREFIX`.

    Returns
    -------
    Settings
        Checked and frozen.

    Raises
    ------
    ConfigurationError
        With one line for every fault: file, key, what was found, what is wanted.
    """
    name = str(path) if path is not None else "environment"
    data = _read_toml(path) if path is not None else {}
    faults = _override(data, environment)
    faults += [f"{name}: {fault}" for fault in _unknown_peers(data)]
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        details = _without_echoes(error.errors(include_url=False))
        raise ConfigurationError([f"{name}: {_explain(one)}" for one in details] + faults) from None
    faults += [
        f"{name}: {fault}"
        for fault in (
            *settings.cross_faults(),
            *_missing_files(settings),
            *commitment_faults(settings),
            *comparison_faults(settings),
        )
    ]
    if faults:
        raise ConfigurationError(faults)
    return settings


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise ConfigurationError([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigurationError([f"{path}: wanted a text file in UTF-8"]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError([f"{path}: not valid TOML: {error}"]) from None


def _override(data: dict[str, Any], environment: Mapping[str, str]) -> list[str]:
    """Write the environment's values into the data; return what could not be placed."""
    faults = []
    for variable in sorted(environment):
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        keys = variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        text = environment[variable]
        if not _place(data, keys, text if keys[-1] in _SECRETS else _parse(text)):
            faults.append(
                f"environment: {variable}: does not name a key, wanted for example "
                f"{ENVIRONMENT_PREFIX}NODE__PORT"
            )
    return faults


def _place(data: dict[str, Any], keys: list[str], value: Any) -> bool:
    here: Any = data
    for at, key in enumerate(keys):
        last = at == len(keys) - 1
        if isinstance(here, list):
            if not key.isdigit() or int(key) > len(here):
                return False
            position = int(key)
            if position == len(here):
                here.append({})
            if last:
                here[position] = value
            here = here[position]
        elif isinstance(here, dict):
            if last:
                here[key] = value
            else:
                here = here.setdefault(key, [] if keys[at + 1].isdigit() else {})
        else:
            return False
    return True


def _parse(text: str) -> Any:
    """Take the text for a TOML value where it is one (numbers, lists), else for a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _unknown_peers(data: dict[str, Any]) -> list[str]:
    """Name every destination that is no peer; told even where other values keep the file from loading."""
    tables = [data.get(key) for key in ("peers", "sources")]
    peers, sources = (table if isinstance(table, list) else [] for table in tables)
    known = [str(peer.get("name")) for peer in peers if isinstance(peer, dict)]
    listed = ", ".join(f'"{name}"' for name in sorted(known)) or "none is configured"
    faults = []
    for at, source in enumerate(sources):
        wanted = source.get("send_to") if isinstance(source, dict) else None
        for name in wanted if isinstance(wanted, list) else []:
            if str(name) not in known:
                faults.append(f'sources[{at}].send_to: found "{name}", wanted the name of a peer ({listed})')
    return faults


def _missing_files(settings: Settings) -> list[str]:
    """Name the files that the settings speak of and that are not there; the schema alone looks at no disk."""
    return [
        f'peers[{at}].ca_file: found "{peer.ca_file}", wanted a file that is there'
        for at, peer in enumerate(settings.peers)
        if isinstance(peer, DicomwebPeerSettings) and peer.ca_file is not None and not peer.ca_file.is_file()
    ]


def _without_echoes(details: list[Any]) -> list[Any]:
    """Leave out what pydantic says of a list only because an item of it is wrong."""
    items = {detail["loc"][:-1] for detail in details if isinstance(detail["loc"][-1], int)}
    return [detail for detail in details if detail["type"] != "too_short" or detail["loc"] not in items]


def _explain(detail: Any) -> str:
    """Turn one pydantic error into a line for the person who typed the value."""
    location = detail["loc"]
    kind = detail["type"]
    if kind == "union_tag_invalid":
        known = " or ".join(f'"{one}"' for one in PEER_KINDS)
        return f"{_key(location)}.kind: found {_shown(detail['input'].get('kind'))}, wanted {known}"
    key = _key(location)
    if kind == "extra_forbidden":
        return f"{key}: {_unknown_key(location)}"
    if kind == "missing":
        return f"{key}: missing, wanted a value"
    wanted = str(detail["msg"]).removeprefix("Value error, ")
    if not wanted.startswith(("wanted", "found")):
        wanted = "wanted " + wanted.removeprefix("Input should be ").replace("Input should ", "to ")
    if isinstance(detail["input"], dict):  # a whole table is not shown: there may be a password in it
        return f"{key}: {wanted}"
    shown = "a value that is not shown here" if location[-1] in _SECRETS else _shown(detail["input"])
    return f"{key}: found {shown}, {wanted}"


def _key(location: tuple[Any, ...]) -> str:
    """Return a location as the person knows it."""
    parts = [part for part in location if not str(part).startswith(KIND_MARK)]
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")


def _shown(found: object) -> str:
    """Return a value that was typed, cut short, without the credentials of an address."""
    text = re.sub(r"//[^/@]*@", "//...@", str(found))[:80]
    return f'"{text}"' if isinstance(found, str) else text


def _unknown_key(location: tuple[Any, ...]) -> str:
    """Name the key that was probably meant, or the kind of peer that the key belongs to."""
    kind = next((str(part).removeprefix(KIND_MARK) for part in location if _is_mark(part)), None)
    if kind is not None:
        for other, settings in PEER_KINDS.items():
            if location[-1] in settings.model_fields and len(location) == 4:
                return f'belongs to peers of kind = "{other}", this one is of kind "{kind}"'
    section = _section(location[:-1])
    if section is None:
        return "unknown key"
    known = list(section.model_fields)
    close = difflib.get_close_matches(str(location[-1]), known, n=1)
    return (
        f'unknown key, did you mean "{close[0]}"?'
        if close
        else f"unknown key; known keys: {', '.join(known)}"
    )


def _section(location: tuple[Any, ...]) -> type[BaseModel] | None:
    """Return the section at a location, None where none of ours is there."""
    section: type[BaseModel] | None = Settings
    for part in location:
        if isinstance(part, int):
            continue
        if _is_mark(part):
            section = PEER_KINDS[part.removeprefix(KIND_MARK)]
            continue
        field = section.model_fields.get(part) if section is not None else None
        if field is None:
            return None
        section = next(
            (
                kind
                for kind in (field.annotation, *getattr(field.annotation, "__args__", ()))
                if isinstance(kind, type) and issubclass(kind, BaseModel)
            ),
            None,
        )
    return section


def _is_mark(part: object) -> bool:
    return isinstance(part, str) and part.startswith(KIND_MARK)
