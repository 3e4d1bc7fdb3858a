"""Numbers as people read them; exact ones stand in the coded content."""

from __future__ import annotations


def volume_text(volume_ml: float) -> str:
    """Show a volume in ml: small ones with a decimal, a trace as one."""
    if 0 < volume_ml < 0.1:
        return "< 0.1 ml"
    return f"{volume_ml:.0f} ml" if volume_ml >= 10 or volume_ml == 0 else f"{volume_ml:.1f} ml"


def percent_text(percent: float) -> str:
    """Show a share: a trace is not nothing, and nearly all is not all."""
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if 99.5 <= percent < 100:
        return "> 99 %"
    return f"{percent:.0f} %" if percent == 0 or percent >= 10 else f"{percent:.1f} %"
