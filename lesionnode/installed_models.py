"""Which model packages there are, and whether they may be used. Opens none: the receiver looks here too."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from config import Settings
from core.errors import ConfigurationError, ModelError, ModelIntegrity
from inference.model_package import find_packages, load_package, require_licence, shipped_models_folder


def model_folders(settings: Settings) -> list[Path]:
    """Return where packages are looked for: the site's own under the data folder, then the shipped ones."""
    return [settings.node.data_folder / "models", shipped_models_folder()]


def find_model(name: str, folders: Iterable[Path]) -> Path:
    """Return the folder of a package.

    Raises
    ------
    ModelIntegrity
        There is none of that name; the message lists those that are there.
    """
    places = list(folders)
    found = find_packages(places)
    if name not in found:
        looked = " and ".join(str(place) for place in places)
        there = ", ".join(sorted(found)) or "none"
        raise ModelIntegrity(f'no model package "{name}"; found: {there} (in {looked})')
    return found[name]


def model_faults(settings: Settings) -> list[str]:
    """Return what is wrong with the models that the sources name: absent, damaged, not licensed."""
    faults = []
    for name in dict.fromkeys(source.model for source in settings.sources):
        try:
            package = load_package(find_model(name, model_folders(settings)))
            require_licence(package, frozenset(settings.models.accept_licence))
        except ModelError as error:
            at = next(at for at, source in enumerate(settings.sources) if source.model == name)
            faults.append(f"sources[{at}].model: {error}")
    return faults


def require_models(settings: Settings) -> None:
    """Raise `ConfigurationError` with every fault of the configured models."""
    faults = model_faults(settings)
    if faults:
        raise ConfigurationError(faults)


def describe_models(settings: Settings) -> list[tuple[str, str, str, str]]:
    """Return name, version, licence and remark of every package that can be found."""
    rows = []
    for name, folder in sorted(find_packages(model_folders(settings)).items()):
        try:
            package = load_package(folder)
        except ModelError as error:
            rows.append((name, "?", "?", f"cannot be used: {error}"))
            continue
        manifest = package.manifest
        try:
            require_licence(package, frozenset(settings.models.accept_licence))
            remark = "ready"
        except ModelError as error:
            remark = str(error)
        restriction = manifest.licence.restriction
        licence = manifest.licence.name + ("" if restriction == "none" else f" ({restriction})")
        rows.append((name, manifest.version, licence, remark))
    return rows
