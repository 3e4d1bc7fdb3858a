"""Models ready to run: licences checked, sessions opened once and kept."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from config import ModelSettings
from core.log import get_logger
from inference.model_package import ModelPackage, load_package, require_licence
from inference.segmenter import Segmenter
from inference.session import ExecutionPolicy, ModelSession, open_session
from lesionnode.installed_models import find_model


class Engine:
    """Opens each model once and keeps its session.

    Parameters
    ----------
    settings
        Execution policy, threads, accepted licences, attenuation of consolidation.
    folders
        Where packages are looked for.
    """

    def __init__(self, settings: ModelSettings, folders: Iterable[Path]) -> None:
        self._settings = settings
        self._folders = list(folders)
        self._open: dict[str, tuple[ModelPackage, ModelSession]] = {}

    def open(self, name: str) -> tuple[ModelPackage, ModelSession]:
        """Return a package and its session, warmed up.

        Raises
        ------
        ModelError
            Absent, damaged, not licensed, or the execution policy cannot be met.
        """
        if name not in self._open:
            package = load_package(find_model(name, self._folders))
            require_licence(package, frozenset(self._settings.accept_licence))
            policy = ExecutionPolicy(self._settings.execution)
            session = open_session(package, policy, threads=self._settings.threads)
            if session.fallback_reason is not None:
                get_logger().warning("model_runs_on_cpu", model=name, reason=session.fallback_reason)
            session.warm_up()
            self._open[name] = (package, session)
        return self._open[name]

    def segmenter(self, name: str) -> Segmenter:
        """Return the segmenter of a model."""
        package, session = self.open(name)
        return Segmenter(package, session, self._settings.consolidation_from_hu)
