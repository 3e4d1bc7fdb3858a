"""``lesion-node trace``: what happened to a series."""

from __future__ import annotations

import json

from rich.console import Console

from lesionnode.commands.common import ConfigOption, JsonOption, SeriesArgument, read_settings


def trace(series: SeriesArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Tell the whole story of a series: why it has a result or none, and when what happened.

    The UID of a study tells the stories of all its series.
    """
    from core.errors import NodeError
    from custody.ledger.find import find_series
    from custody.ledger.story import story_of
    from lesionnode.opened import opened_ledger
    from lesionnode.story_page import print_story
    from lesionnode.verdict import verdict

    settings = read_settings(config)
    with opened_ledger(settings) as ledger, ledger.read() as connection:
        stories = [story_of(connection, one.id) for one in find_series(connection, series)]
    if not stories:
        raise NodeError(
            f'no series "{series}" was ever received: if it should have been, look for refused callers in '
            "`lesion-node status` and at the sender"
        )
    if as_json:
        print(json.dumps([{"verdict": verdict(one)[1], **one} for one in stories], indent=2))
        return
    console = Console(highlight=False)
    for number, one in enumerate(stories):
        if number:
            console.rule()
        print_story(one, console)
