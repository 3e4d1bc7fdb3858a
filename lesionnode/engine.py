"""Models ready to run: licences checked, sessions opened once and kept."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from config import ModelSettings
from core.errors import InferenceError
from core.log import get_logger
from inference.model_package import ModelPackage, load_package, require_licence
from inference.segmenter import Segmenter
from inference.session import CPU_PROVIDER, ExecutionPolicy, ModelSession, open_session
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
        InferenceError
            It fails on a batch of air.
        """
        if name not in self._open:
            package = load_package(find_model(name, self._folders))
            require_licence(package, frozenset(self._settings.accept_licence))
            session = self._warm(package)
            if session.fallback_reason is not None:
                get_logger().warning("model_runs_on_cpu", model=name, reason=session.fallback_reason)
            self._open[name] = (package, session)
        return self._open[name]

    def _warm(self, package: ModelPackage) -> ModelSession:
        """Open and warm up; a GPU that fails at its first batch is as good as none."""
        policy, threads = ExecutionPolicy(self._settings.execution), self._settings.threads
        session = open_session(package, policy, threads=threads)
        try:
            session.warm_up()
        except InferenceError as error:
            if policy is not ExecutionPolicy.PREFER_GPU or session.provider == CPU_PROVIDER:
                raise
            session = open_session(package, ExecutionPolicy.CPU, threads=threads)
            session.fallback_reason = str(error)
            session.warm_up()
        return session

    def segmenter(self, name: str) -> Segmenter:
        """Return the segmenter of a model."""
        package, session = self.open(name)
        return Segmenter(package, session, self._settings.consolidation_from_hu)
