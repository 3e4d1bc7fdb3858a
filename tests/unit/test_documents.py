"""The documents and the systemd unit say what the code does."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from config import NodeSettings, Settings, load_settings
from config.peers import PEER_KINDS
from core import codes
from core.domain import Region
from lesionnode.cli import EX_CONFIG, app
from lesionnode.commands.common import DEFAULT_CONFIG
from scp import status
from sr_writer.concepts import RegionConcept
from sr_writer.fhir import elements

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
_ROOMS = ("lesionnode", "scp", "inference", "sr_writer", "config", "custody", "core")
_FOREIGN = {".venv", "dist", "build", "node_modules", "demo-output"}
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_KEY_ROW = re.compile(r"^\| `([a-z]+\.\w+)` \| (.+?) \|", re.MULTILINE)


def _markdown() -> list[Path]:
    found = ((path, path.relative_to(ROOT).parts[:-1]) for path in ROOT.rglob("*.md"))
    return sorted(path for path, parts in found if not any(p in _FOREIGN or p[0] == "." for p in parts))


def _unit() -> dict[str, dict[str, list[str]]]:
    """Parse the unit file; a key may stand several times (systemd.syntax(7))."""
    sections: dict[str, dict[str, list[str]]] = {}
    for number, line in enumerate((ROOT / "systemd/lesion-node.service").read_text().splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if text.startswith("["):
            section = sections.setdefault(text.strip("[]"), defaultdict(list))
            continue
        key, equals, value = text.partition("=")
        assert equals, f"line {number} is neither a section nor a key: {text}"
        section[key].append(value)
    return sections


def _commands() -> set[str]:
    return set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def _setting_fields() -> dict[str, FieldInfo]:
    fields: dict[str, FieldInfo] = {}
    for section, field in Settings.model_fields.items():
        kinds = (field.annotation, *getattr(field.annotation, "__args__", ()))
        models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        # What every kind of peer has is documented once, with the default of the first kind.
        for model in PEER_KINDS.values() if section == "peers" else models:
            fields = {f"{section}.{key}": inner for key, inner in model.model_fields.items()} | fields
    return fields


def _code_of(text: str) -> str:
    """Return everything set as code: fenced blocks and spans."""
    blocks = "\n".join(body for _, body in _FENCE.findall(text))
    return blocks + "\n" + "\n".join(re.findall(r"`([^`\n]+)`", _FENCE.sub("", text)))


def _slugs(text: str) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _logged_events() -> Iterator[str]:
    for room in _ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                    first = node.args[0]
                    if node.func.attr in {"info", "warning", "error"} and isinstance(first, ast.Constant):
                        yield str(first.value)


# --- systemd ----------------------------------------------------------------------------------------------


def test_unit_is_supervised_and_hardened() -> None:
    """The unit has every key on which restart, watchdog, graceful stop and hardening rest."""
    service = _unit()["Service"]
    wanted = {
        "Type": "notify",
        "NotifyAccess": "main",
        "Restart": "on-failure",
        "RestartPreventExitStatus": str(EX_CONFIG),
        "KillMode": "mixed",
        "ProtectSystem": "strict",
        "NoNewPrivileges": "yes",
        "PrivateTmp": "yes",
        "CapabilityBoundingSet": "CAP_NET_BIND_SERVICE",
        "AmbientCapabilities": "CAP_NET_BIND_SERVICE",
        "OOMPolicy": "continue",
    }
    assert {key: service[key] for key in wanted} == {key: [value] for key, value in wanted.items()}
    assert service["SystemCallFilter"] == ["@system-service", "~@privileged"]
    assert "AF_UNIX" in service["RestrictAddressFamilies"][0].split()
    assert int(service["WatchdogSec"][0]) > 0
    assert "MemoryMax" in service
    # The GPU's device files can be opened, and code can be made at run time.
    assert service["DeviceAllow"] == ["char-nvidia* rw"]
    assert not {"PrivateDevices", "MemoryDenyWriteExecute", "ProcSubset"} & service.keys()


def test_unit_waits_longer_than_a_graceful_stop() -> None:
    """systemd does not kill the node while it stops in order: 12 s, 5 s a loop, 20 s, ten peers."""
    source = (ROOT / "lesionnode/node.py").read_text() + (ROOT / "scp/receiver.py").read_text()
    patience = [float(found) for found in re.findall(r"patience_s(?:: float)? ?= ?([\d.]+)", source)]
    assert sorted(patience) == [5.0, 10.0, 20.0]
    assert float(_unit()["Service"]["TimeoutStopSec"][0]) >= 10 + 2 + 20 + 5 * (1 + 10)


def test_unit_starts_an_installed_command_with_the_installed_configuration() -> None:
    """ExecStart names a script of the project, a command of it, and the default configuration file."""
    program, command, option, path = _unit()["Service"]["ExecStart"][0].split()
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert Path(program).name in scripts
    assert command in _commands()
    assert (option, Path(path)) == ("--config", DEFAULT_CONFIG)


def test_account_and_folders_of_the_unit_are_made() -> None:
    """User, data folder and configuration folder are those of sysusers, tmpfiles and the defaults."""
    service = _unit()["Service"]
    data_folder = NodeSettings().data_folder
    assert Path("/var/lib") / service["StateDirectory"][0] == data_folder
    assert _unit()["Unit"]["RequiresMountsFor"] == [str(data_folder)]
    user = service["User"][0]
    lines = (ROOT / "systemd/lesion-node.sysusers.conf").read_text().splitlines()
    assert [line.split()[1] for line in lines if line.startswith("u")] == [user]
    lines = (ROOT / "systemd/lesion-node.tmpfiles.conf").read_text().splitlines()
    folders = [line.split() for line in lines if line and not line.startswith("#")]
    made = {fields[1]: (fields[2], fields[4], fields[5]) for fields in folders}
    assert made[str(data_folder)] == ("0750", user, "-")
    assert made[str(DEFAULT_CONFIG.parent)] == ("0750", user, "-")


# --- configuration ----------------------------------------------------------------------------------------


def test_every_key_is_documented_and_every_documented_key_exists() -> None:
    """docs/configuration.md and the schema name the same keys, each once."""
    documented = [key for key, _ in _KEY_ROW.findall((DOCS / "configuration.md").read_text())]
    assert sorted(documented) == sorted(_setting_fields())


@pytest.mark.parametrize(("key", "shown"), _KEY_ROW.findall((DOCS / "configuration.md").read_text()))
def test_documented_default_is_the_default(key: str, shown: str) -> None:
    """The default column says what the schema does."""
    field = _setting_fields()[key]
    if shown == "required":
        assert field.is_required()
    elif key == "peers.calling_ae_title":
        assert (shown, field.default) == ("`node.ae_title`", None)
    elif shown == "none":
        assert not field.default
    else:
        default: Any = str(field.default) if isinstance(field.default, Path) else field.default
        wanted = tomllib.loads(f"value = {shown.strip('`')}")["value"]
        assert (list(default) if isinstance(default, tuple) else default) == wanted


def test_example_file_is_sound_and_referenced_not_copied() -> None:
    """config/example.toml loads; the guides link to it and hold no copy of it."""
    example = ROOT / "config/example.toml"
    load_settings(example, {})
    mark = "<<< what scanners and PACS call this node"
    assert mark in example.read_text()
    assert "(../config/example.toml)" in (DOCS / "configuration.md").read_text()
    assert [path for path in _markdown() if mark in path.read_text()] == []


def test_examples_in_the_guide_are_sound() -> None:
    """Every TOML block of docs/configuration.md is accepted by the schema."""
    blocks = [
        body for kind, body in _FENCE.findall((DOCS / "configuration.md").read_text()) if kind == "toml"
    ]
    assert len(blocks) >= 4
    for body in blocks:
        assert Settings.model_validate(tomllib.loads(body)).cross_faults() == []


# --- commands, logs, results ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", _markdown(), ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_in_documents_exist(path: Path) -> None:
    """Every `lesion-node COMMAND` set as code is a command."""
    named = re.findall(
        r"(?<![\w/.-])lesion-node (?!lesion-node )([a-z][a-z-]*)(?![\w/.-])", _code_of(path.read_text())
    )
    assert set(named) <= _commands()


def test_every_command_is_in_the_operations_guide() -> None:
    """docs/operations.md lists every command."""
    text = (DOCS / "operations.md").read_text()
    assert {name for name in _commands() if f"`lesion-node {name}" not in text} == set()


def test_every_log_event_is_in_the_operations_guide() -> None:
    """docs/operations.md explains every event that the code logs under a fixed name."""
    text = (DOCS / "operations.md").read_text()
    assert {event for event in _logged_events() if f"`{event}`" not in text} == set()


def test_segment_table_is_that_of_the_writer() -> None:
    """docs/results.md gives number, label, type and laterality of every segment as they are written."""
    text = (DOCS / "results.md").read_text()
    for region in Region:
        names = RegionConcept.of(region)
        kind = names.property_type
        start = f"| {region.value} | {names.label} | {kind.meaning} ({kind.value}, {kind.scheme}) |"
        assert f"{start} {names.laterality.value} {names.laterality.meaning.lower()} |" in text


def test_table_of_codes_is_that_of_the_writer() -> None:
    """docs/results.md lists every code of `core.codes`, and no private one that does not exist."""
    text = (DOCS / "results.md").read_text()
    rows = {codes.Code(*row) for row in re.findall(r"^\| `([^`]+)` \| (\w+) \| (.+?) \|", text, re.MULTILINE)}
    known = {code for code in vars(codes).values() if isinstance(code, codes.Code)}
    private = {row for row in rows if row.scheme == codes.PRIVATE_SCHEME}
    assert known <= rows
    assert private == {code for code in known if code.scheme == codes.PRIVATE_SCHEME}
    assert all(len(code.value) <= 16 for code in known)  # SH: Code Value, PS3.3 8.1


def test_codes_of_the_fhir_bundle_are_those_of_the_writer() -> None:
    """docs/results.md names the private code system and the codes that only the bundle has."""
    text = (DOCS / "results.md").read_text()
    assert f"`{elements.SYSTEMS[codes.PRIVATE_SCHEME]}`" in text
    for code in elements.LUNG_OF_SIDE.values():
        assert f"{code.value} {code.meaning}" in text


def test_statuses_in_the_table_are_those_of_the_code() -> None:
    """docs/results.md lists every C-STORE status that the node answers or understands."""
    text = (DOCS / "results.md").read_text()
    known = {value for name, value in vars(status).items() if name.isupper() and isinstance(value, int)}
    assert known <= {int(found, 16) for found in re.findall(r"0x([0-9A-F]{4})\b", text)}


# --- the documents themselves -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", _markdown(), ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_resolve(path: Path) -> None:
    """Every relative link leads to a file, and its anchor to a heading."""
    broken = []
    for link in _LINK.findall(_FENCE.sub("", path.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        missing = not target.exists() or not target.is_relative_to(ROOT)
        if missing or (anchor and anchor not in _slugs(target.read_text())):
            broken.append(link)
    assert broken == []


def test_decisions_are_numbered_without_gaps_and_linked() -> None:
    """Decision records count from 0001, have the three sections, and stand in docs/architecture.md."""
    records = sorted((DOCS / "adr").glob("*.md"))
    assert [record.name[:4] for record in records] == [f"{at:04d}" for at in range(1, len(records) + 1)]
    architecture = (DOCS / "architecture.md").read_text()
    for record in records:
        text = record.read_text()
        assert text.startswith(f"# {record.name[:4]} ")
        assert all(f"**{part}.**" in text for part in ("Context", "Decision", "Consequences"))
        assert f"(adr/{record.name})" in architecture


def test_picture_is_sound_and_shown() -> None:
    """docs/architecture.svg is well-formed, has a description, and stands in docs/architecture.md."""
    assert ElementTree.parse(DOCS / "architecture.svg").findtext("{http://www.w3.org/2000/svg}desc")
    assert "(architecture.svg)" in (DOCS / "architecture.md").read_text()


def test_changelog_names_the_version_and_its_clinical_impact() -> None:
    """CHANGELOG.md has a section for the project's version, with a line on clinical impact."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    text = (ROOT / "CHANGELOG.md").read_text()
    section = text.partition(f"## {version}")[2].partition("\n## ")[0]
    assert "**Clinical impact:**" in section


def test_no_dependency_owns_a_root_package() -> None:
    """The generic names of the root packages belong to nobody else (docs/adr/0001)."""
    owners = packages_distributions()
    assert {owner for room in _ROOMS for owner in owners.get(room, ())} <= {"lesion-node"}
