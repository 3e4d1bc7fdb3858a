"""Several nodes of one site, each with a data folder of its own, on one ledger and one storage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.running_node import RunningNode


@dataclass(frozen=True, slots=True)
class Site:
    """The nodes by the names that the test gave them."""

    nodes: Mapping[str, RunningNode]

    def __getitem__(self, name: str) -> RunningNode:
        return self.nodes[name]


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine of the site.

    Parameters
    ----------
    name
        Also of its folder.
    roles
        What it does.
    launcher
        Command line that the node's own is appended to.
    """

    name: str
    roles: str
    launcher: tuple[str, ...] = ()


@contextmanager
def running_site(
    folder: Path,
    machines: Sequence[Machine],
    peers: list[tuple[str, str, int]],
    *,
    ledger_url: str,
    storage: str,
    options: str = "",
) -> Iterator[Site]:
    """Prepare nodes for the length of a block; the test starts them, and whatever runs at the end is ended.

    Parameters
    ----------
    folder
        Holds everything of them.
    machines, peers
        Who there is; where results go.
    ledger_url, storage
        Database and storage that they share; of the storage the lines of its section.
    options
        Further TOML.
    """
    common = f'[ledger]\nurl = "{ledger_url}"\nlease_s = 5\n[storage]\n{storage}\n{options}\n'
    nodes = {
        one.name: RunningNode(
            folder / one.name,
            peers,
            options=f"answer_timeout_s = 5\n{common}",
            arguments=("--roles", one.roles),
            launcher=one.launcher,
        )
        for one in machines
    }
    with ExitStack() as stack:
        for node in nodes.values():
            stack.callback(_ended, node)
        yield Site(nodes)


def _ended(node: RunningNode) -> None:
    node.stop()
    if node.process is not None and node.process.poll() is None:
        node.kill_all()
