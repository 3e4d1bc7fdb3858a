"""What keeps senders' requests for storage commitment from being answered, found in the settings."""

from __future__ import annotations

from config.settings import CommitmentRule, Settings


def commitment_faults(settings: Settings) -> list[str]:
    """Return a line for every source that could not be answered truthfully, or not at all."""
    faults = []
    archives = {peer.name for peer in settings.dimse_peers}
    known = ", ".join(f'"{name}"' for name in sorted(archives)) or "none is configured"
    titles = {peer.ae_title for peer in settings.dimse_peers}
    for at, source in enumerate(settings.sources):
        rule = source.storage_commitment
        if rule is CommitmentRule.ARCHIVE and source.archive not in archives:
            found = f'found "{source.archive}"' if source.archive else "missing"
            faults.append(f"sources[{at}].archive: {found}, wanted the DIMSE peer that archives ({known})")
        if rule is not CommitmentRule.ARCHIVE and source.archive:
            faults.append(
                f'sources[{at}].archive: found "{source.archive}", wanted it only with '
                'storage_commitment = "archive"'
            )
        unknown = sorted(set(source.ae_titles) - titles)
        if rule is not CommitmentRule.OFF and source.commitment_port is None and unknown:
            faults.append(
                f'sources[{at}].commitment_port: missing, wanted the port on which "{unknown[0]}" listens '
                f'for the answer, or a [[peers]] block with ae_title = "{unknown[0]}"'
            )
    return faults
