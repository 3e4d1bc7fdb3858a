"""A model package: a folder with `model.onnx`, `model.toml` and `MODEL_CARD.md`, checked before use."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from core.domain import ModelIdentity
from core.errors import ModelIntegrity, ModelNotLicensed
from core.repeatability import Repeatability
from inference.manifest import Manifest
from inference.manifest_repeatability import as_repeatability

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "model.toml"
CARD_FILE = "MODEL_CARD.md"


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """A package whose manifest is sound and whose model file is the one the manifest describes.

    Parameters
    ----------
    folder
        Where it lies.
    manifest
        What it says about itself.
    """

    folder: Path
    manifest: Manifest

    @property
    def repeatability(self) -> Repeatability:
        """How far two measurements of an unchanged patient lie apart; without limits where not measured."""
        return as_repeatability(self.manifest.repeatability)

    def identity(self, parameters: str) -> ModelIdentity:
        """Return what SEG and SR say about the model.

        Parameters
        ----------
        parameters
            What was set, one short line.
        """
        algorithm = self.manifest.algorithm
        family = algorithm.family
        return ModelIdentity(
            name=algorithm.name,
            version=self.manifest.version,
            sha256=self.manifest.sha256,
            family_code=(family.value, family.scheme, family.meaning),
            parameters=parameters,
            manufacturer=algorithm.manufacturer,
            research_only=self.manifest.intended_use.research_only,
        )

    def model_bytes(self) -> bytes:
        """Read the model, and make sure that these very bytes are the ones the manifest describes.

        Raises
        ------
        ModelIntegrity
            The file cannot be read, or is another one than when the package was made.
        """
        path = self.folder / MODEL_FILE
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ModelIntegrity(_unreadable(path, error)) from error
        fault = _digest_fault(path, content, self.manifest.sha256)
        if fault:
            raise ModelIntegrity(fault)
        return content


def load_package(folder: Path) -> ModelPackage:
    """Read and check a package, without opening its graph.

    Parameters
    ----------
    folder
        The package's folder.

    Raises
    ------
    ModelIntegrity
        With one line for every fault: file, key, what was found and what is wanted.
    """
    if not folder.is_dir():
        raise ModelIntegrity(f"{folder}: no such folder; wanted a model package with {MODEL_FILE}")
    faults: list[str] = []
    manifest = _read_manifest(folder / MANIFEST_FILE, faults)
    if not (folder / CARD_FILE).is_file():
        faults.append(f"{folder / CARD_FILE}: not found; write down what the model is for and what it is not")
    model_path = folder / MODEL_FILE
    if not model_path.is_file():
        faults.append(f"{model_path}: not found; copy the ONNX export there")
    elif manifest is not None:
        try:
            fault = _digest_fault(model_path, model_path.read_bytes(), manifest.sha256)
        except OSError as error:
            fault = _unreadable(model_path, error)
        if fault:
            faults.append(fault)
    if faults or manifest is None:
        raise ModelIntegrity("\n".join(faults))
    return ModelPackage(folder, manifest)


def find_packages(folders: Sequence[Path]) -> dict[str, Path]:
    """Find every package by the name of its folder.

    Parameters
    ----------
    folders
        Searched one level deep; where two hold a package of one name, the earlier folder wins, so that a
        site's own package can stand in for a shipped one.

    Returns
    -------
    dict
        Name → folder, sorted by name. A folder without a manifest is not a package; one with a faulty
        manifest is, so that its faults are told instead of hidden.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            continue
        for manifest in sorted(folder.glob(f"*/{MANIFEST_FILE}")):
            found.setdefault(manifest.parent.name, manifest.parent)
    return dict(sorted(found.items()))


def shipped_models_folder() -> Path:
    """Return the folder of the packages that come with the product: of the checkout, else of the wheel.

    Raises
    ------
    ModelIntegrity
        Neither exists: the installation is incomplete.
    """
    root = Path(__file__).resolve().parents[1]
    # A wheel carries them inside lesionnode, because site-packages/models would belong to everybody.
    candidates = (root / "lesionnode" / "models", root / "models")
    for candidate in candidates:
        if any(candidate.glob(f"*/{MANIFEST_FILE}")):
            return candidate
    raise ModelIntegrity("The models that come with lesion-node are missing; install lesion-node again.")


def require_licence(package: ModelPackage, accepted: frozenset[str]) -> None:
    """Make sure that the site has accepted the terms of a restricted package by name.

    Parameters
    ----------
    package
        The package that the configuration chose.
    accepted
        Restrictions that the configuration accepts, e.g. ``{"research"}``.

    Raises
    ------
    ModelNotLicensed
        With the configuration line that accepts the terms.
    """
    licence = package.manifest.licence
    if licence.restriction == "none" or licence.restriction in accepted:
        return
    raise ModelNotLicensed(
        f"Model {package.manifest.name} {package.manifest.version} is for {licence.restriction} only "
        f"({licence.name}): {licence.text.strip()}\n"
        f"If this site's use is covered by these terms, write in the [models] table of the configuration:\n"
        f'accept_licence = "{licence.restriction}"'
    )


def _read_manifest(path: Path, faults: list[str]) -> Manifest | None:
    """Parse the manifest; add what is wrong with it to `faults`."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        faults.append(f"{path}: not found; see models/README.md for how to write one")
        return None
    except OSError as error:
        faults.append(_unreadable(path, error))
        return None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        faults.append(f"{path}: not valid TOML: {error}")
        return None
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        faults.extend(f"{path}: {_in_words(fault)}" for fault in error.errors())
        return None
    folder = path.parent.resolve().name
    if manifest.name != folder:
        faults.append(f'{path}: name: found "{manifest.name}", wanted "{folder}" as the folder is called')
    return manifest


def _in_words(fault: ErrorDetails) -> str:
    """Say what pydantic found in the words of the manifest's author."""
    # A discriminated union puts the chosen member into the location; the author never wrote that.
    key = ".".join(str(part) for part in fault["loc"]) or "whole file"
    if fault["type"] == "missing":
        return f"{key}: not found, but needed"
    if fault["type"] == "extra_forbidden":
        return f"{key}: no such key; remove it or correct its spelling"
    if isinstance(fault["input"], dict):
        return f"{key}: {fault['msg']}"
    found = str(fault["input"])
    return f"{key}: found {found[:60] + '…' if len(found) > 60 else found}; {fault['msg']}"


def _digest_fault(path: Path, content: bytes, wanted: str) -> str | None:
    """Tell how a model file differs from its manifest."""
    found = hashlib.sha256(content).hexdigest()
    if found == wanted:
        return None
    return (
        f"{path}: sha256: found {found}, wanted {wanted}; restore the file, "
        f"or, if you have changed the model on purpose, write the new digest into {MANIFEST_FILE}"
    )


def _unreadable(path: Path, error: OSError) -> str:
    """Tell why a file cannot be read."""
    return f"{path}: cannot be read: {error.strerror}"
