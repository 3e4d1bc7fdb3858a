"""The front door: the only place where the rooms meet."""

from importlib.metadata import version

__version__ = version("lesion-node")
