"""How the console says numbers and instants: the filters of every template. Pure."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from jinja2.runtime import Undefined

from controlplane.telemetry.values import CLOCK_OFF_S

NBSP = "\u00a0"
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400


def iso(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def stamp(instant: datetime) -> str:
    """22 Nov 2026 14:07:31 UTC."""
    return f"{instant.astimezone(UTC):%d %b %Y %H:%M:%S} UTC".lstrip("0")


def clock(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%H:%M:%S}"


def day(instant: datetime, now: datetime) -> str:
    """Today, 22 November; Yesterday, 21 November; 3 November 2026."""
    local, today = instant.astimezone(UTC), now.astimezone(UTC)
    name = f"{local:%d %B}".lstrip("0")
    days = (today.date() - local.date()).days
    if days in {0, 1}:
        return f"{'Today' if days == 0 else 'Yesterday'}, {name}"
    return name if local.year == today.year else f"{name} {local.year}"


def span(seconds: float) -> str:
    """The largest unit that says enough: 42 s, 9 min, 4 h, 3 d."""
    whole = max(0, round(seconds))
    for size, unit in ((DAY_S, "d"), (HOUR_S, "h"), (MINUTE_S, "min")):
        if whole >= size:
            return f"{whole // size}{NBSP}{unit}"
    return f"{whole}{NBSP}s"


def clock_off(skew_s: float) -> str:
    """What is said of a host whose clock is `skew_s` ahead; nothing while that could be a busy machine's delay."""
    if abs(skew_s) < CLOCK_OFF_S:
        return ""
    return f"clock {span(abs(skew_s))} {'fast' if skew_s > 0 else 'slow'}"


def ago(instant: datetime, now: datetime) -> str:
    seconds = (now - instant).total_seconds()
    if seconds < DAY_S:
        return f"{span(seconds)} ago"
    return f"{instant.astimezone(UTC):%d %b %H:%M}".lstrip("0")


def left(instant: datetime, now: datetime, form: str = "long") -> str:
    """What remains until `instant`: 59 min 48 s; in short 59 min."""
    seconds = max(0, round((instant - now).total_seconds()))
    if form == "short":
        return span(seconds)
    if seconds < HOUR_S:
        return f"{seconds // MINUTE_S} min {seconds % MINUTE_S} s"
    return f"{seconds // HOUR_S} h {seconds % HOUR_S // MINUTE_S} min"


def count(number: float) -> str:
    """1,292."""
    return f"{number:,.0f}"


def short(number: float) -> str:
    """Three digits at most and a letter: 812, 8 k, 2.4 M."""
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if abs(number) >= size:
            scaled = f"{number / size:.1f}".removesuffix(".0") if abs(number) < 100 * size else f"{number / size:.0f}"
            return f"{scaled}{NBSP}{letter}"
    return f"{number:g}" if number == int(number) else f"{number:.3g}"


def seconds(value: float) -> str:
    """0.8 s, 41 s, 2 min; below a tenth of a second in ms."""
    if value < 0.1:
        return f"{value * 1000:.0f}{NBSP}ms"
    return f"{value:.1f}{NBSP}s" if value < 10 else span(value)


def measured(value: float) -> str:
    """How long something took that instances dated themselves: no finer than the way of a message lets anybody know."""
    return f"{max(value, 0.01):.2f}{NBSP}s" if value < 1 else seconds(value)


def percent(ratio: float) -> str:
    """Of a share between 0 and 1: 45 %, 0.3 %, 0 %."""
    value = ratio * 100
    text = f"{value:.0f}" if value >= 10 or value == 0 else f"{value:.1f}".removesuffix(".0")
    return f"{text}{NBSP}%"


def basis_points(bp: int) -> str:
    """10,000 → 100 %, 250 → 2.5 %."""
    return f"{bp / 100:g}{NBSP}%"


def plural(number: int, one: str, many: str = "") -> str:
    """1 instance, 43 instances."""
    return f"{count(number)}{NBSP}{one if number == 1 else many or one + 's'}"


def words(identifier: object) -> str:
    """critical_plus → critical plus."""
    return str(identifier).replace("_", " ")


def sentence(text: str) -> str:
    """paused: why → Paused: why."""
    said = text[:1].upper() + text[1:]
    return said if not said or said.endswith((".", "!", "?")) else f"{said}."


def initials(name: str) -> str:
    parts = [
        part for part in name.split("@", maxsplit=1)[0].replace(".", " ").replace("-", " ").split() if part[0].isalnum()
    ]
    return "".join(part[0] for part in parts[:2]).upper() or "?"


FILTERS: Mapping[str, Callable[..., str | Undefined]] = {
    "iso": iso, "stamp": stamp, "clock": clock, "day": day, "span": span, "ago": ago, "left": left, "count": count,
    "short": short, "seconds": seconds, "percent": percent, "basis_points": basis_points, "plural": plural,
    "words": words, "initials": initials,
}  # fmt: skip


def number(text: str, otherwise: int = 0) -> int:
    """A count as a form or an address says it: up to nine ASCII digits; anything else is `otherwise`."""
    return int(text) if len(text) < 10 and text.isascii() and text.isdigit() else otherwise
