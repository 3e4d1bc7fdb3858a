"""One model, opened as the node opens it, for every measurement that asks for ``--model NAME``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from config import ModelSettings, Settings
from core.domain import CtVolume, Segmentation
from core.errors import ModelIntegrity
from inference.lungs import segment_lungs
from inference.model_package import MANIFEST_FILE, ModelPackage
from inference.segmenter import Segmenter
from inference.session import ModelSession
from lesionnode.engine import Engine
from lesionnode.installed_models import model_folders

#: A measurement is research: the terms of restricted packages are named in its output, not asked for.
_ACCEPTED = ("research",)


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """A model that is ready to run on the CPU.

    Parameters
    ----------
    engine
        Holds its session.
    name
        By which the engine knows it.
    settings
        The node's own defaults, on the CPU.
    """

    engine: Engine
    name: str
    settings: ModelSettings

    @property
    def package(self) -> ModelPackage:
        """The package."""
        return self.engine.open(self.name)[0]

    @property
    def session(self) -> ModelSession:
        """The opened graph."""
        return self.engine.open(self.name)[1]

    @property
    def segmenter(self) -> Segmenter:
        """The node's own way from a volume to its lesions."""
        return self.engine.segmenter(self.name)

    def segment(self, volume: CtVolume) -> Segmentation:
        """Find lungs and lesions, in the steps of `lesionnode.pipeline`.

        Raises
        ------
        NotAChest
            No lungs are in view.
        InferenceError
            The model failed.
        """
        return self.segmenter.segment(volume, segment_lungs(volume))

    def described(self) -> dict[str, str]:
        """Return name, version, digest, execution provider and restriction of the licence."""
        manifest = self.package.manifest
        return {
            "name": manifest.name,
            "version": manifest.version,
            "sha256": manifest.sha256,
            "provider": self.session.provider,
            "restriction": manifest.licence.restriction,
        }


def open_model(name: str, *, threads: int = 0) -> OpenedModel:
    """Open a model on the CPU.

    Parameters
    ----------
    name
        Of an installed package, or the path of a package's folder.
    threads
        CPU threads; 0 for one per core.

    Raises
    ------
    ModelError
        There is no such package, or it is damaged.
    """
    settings = ModelSettings(execution="cpu", accept_licence=_ACCEPTED, threads=threads)
    folder = Path(name).resolve()
    if (folder / MANIFEST_FILE).is_file():
        opened = OpenedModel(Engine(settings, [folder.parent]), folder.name, settings)
    elif len(Path(name).parts) > 1:
        raise ModelIntegrity(f"{name}: no model package is there; wanted a folder with {MANIFEST_FILE}")
    else:
        opened = OpenedModel(Engine(settings, model_folders(Settings())), name, settings)
    opened.engine.open(opened.name)
    return opened
