"""Which browser a session is: its User-Agent header, as people would say it. Pure."""

from collections.abc import Sequence

BROWSERS = (
    ("Edg", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("FxiOS/", "Firefox"), ("Chrome/", "Chrome"),
    ("CriOS/", "Chrome"), ("HeadlessChrome", "Chrome"), ("Safari/", "Safari"),
)  # fmt: skip
"""What the header says → whose it is. The first that is found: all of them also claim to be an older one."""

SYSTEMS = (
    ("Windows", "Windows"), ("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)  # fmt: skip
MAX_CHARS = 40


def browser(agent: str) -> str:
    """Chrome on Linux; what of it is known; else the first product, curl/8.14.1. At most MAX_CHARS."""
    name, system = _first(BROWSERS, agent), _first(SYSTEMS, agent)
    if name and system:
        return f"{name} on {system}"
    if name or system:
        return name or system
    product = agent.split(maxsplit=1)[:1]
    return product[0][:MAX_CHARS] if product else "unknown browser"


def _first(known: Sequence[tuple[str, str]], agent: str) -> str:
    return next((said for mark, said in known if mark in agent), "")
