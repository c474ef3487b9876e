"""Times as people write and read them."""

from __future__ import annotations

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
MOST_DIGITS = 9


def seconds(text: str, longest: float = 3600.0) -> float:
    """Return a time such as `30s`, `5min`, `2h` or `30` in seconds.

    Raises:
        ValueError: it is no time, or one beyond the longest; the text is a sentence for the user.
    """
    number = text.rstrip("dhimns")
    unit = text[len(number) :] or "s"
    digits = number.replace(".", "", 1)
    if unit not in UNITS or not (digits.isascii() and digits.isdigit()) or len(digits) > MOST_DIGITS:
        raise ValueError(f"{text!a} is no time; write 30s, 5min or 2h")
    value = float(number) * UNITS[unit]
    if value > longest:
        raise ValueError(f"{text!a} is longer than {spoken(longest)}")
    return value


def spoken(span: object) -> str:
    """Return a span of seconds in the two units that matter; nothing for what is no number."""
    if not isinstance(span, int | float):
        return ""
    left = max(0, round(span))
    parts: list[tuple[int, str]] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count or (parts and len(parts) < 2):  # noqa: PLR2004  # two units are enough
            parts.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count) or "0 s"
