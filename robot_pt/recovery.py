"""What earlier recorders left unfinished: torn journals become whole, whole ones that no store has become episodes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from robot_pt import journal, journal_episode, journal_reading, store_episode
from robot_pt.errors import DataError, UserError
from robot_pt.journal_episode import KEPT, NO_STEPS, Ending
from robot_pt.schema import Episode
from robot_pt.store import DemoStore

RECOVERED = "recovered"
"""Split of episodes that were cut off: no part of training unless asked for."""


def recover(store: DemoStore, folder: Path) -> dict[str, str]:
    """Finish every journal in `folder` and append those that are missing to `store`, which nobody else may record to.

    Returns episode id -> id in the store, or why there is none. Raises OSError when the disk takes no journal.
    """
    report = {
        path.name.split(".mcap")[0]: said for path, said in journal.recover(folder).items() if said != "recovered"
    }
    store.recover()
    have = stored_ids(store)
    for path in sorted(folder.glob("*.mcap")):
        if path.stem in have:
            continue
        try:
            found = episode_of(path)
            if found is not None:
                episode, ending = found
                report[path.stem] = store.append(episode, split=RECOVERED if ending.truncated else "train")
        except UserError as error:
            report[path.stem] = str(error)
    return report


def episode_of(path: Path) -> tuple[Episode, Ending] | None:
    """The episode in a journal, None where it was aborted or is known to have no steps; raises DataError as reading does."""
    found = journal_reading.read(path)
    header, ending = journal_episode.header_of(found), Ending.of(found)
    if ending.outcome not in KEPT or ending.reason == NO_STEPS:
        return None
    messages = journal_episode.messages_of(found, header.namespace)
    return journal_episode.episode(journal_episode.align(messages, header, ending), header, ending), ending


def stored_ids(store: DemoStore) -> set[str]:
    """Episode ids of what came from recordings; damaged episodes are passed over, `DemoStore.recover` tells of them."""
    found = set()
    for name in store.episodes:
        with suppress(DataError):
            attributes, _ = store_episode.header(store.path / name)
            found.add(str((attributes.get("metadata") or {}).get("episode_id", "")))
    return found
