"""Emergencies as one capability."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from brownout import wire
from controlplane.access.address_rules import AddressRules
from controlplane.access.passes import Passes
from controlplane.emergency.book import Book
from controlplane.emergency.carried import Carried
from controlplane.emergency.loops import EmergencyLoops, Published
from controlplane.emergency.service import Emergency
from controlplane.parts import Parts
from controlplane.safemode.service import SafeMode


async def open_emergency(
    parts: Parts,
    passes: Passes,
    addresses: AddressRules,
    safe_mode: SafeMode,
    *,
    on_commit: Callable[[Callable[[str], None]], None],
    published: Published,
) -> Emergency:
    """Reads what it needs from Postgres before the first request: it may be away at the next."""
    settings = parts.settings
    book = Book(settings.secret_keys, Path(settings.emergency_dir) if settings.emergency_dir else None)
    carried = Carried()
    service = Emergency(book, carried, parts.clock, longest=timedelta(hours=settings.max_activation_hours))
    loops = EmergencyLoops(
        book=book, carried=carried, service=service, passes=passes, addresses=addresses, store=parts.store, keys=parts.signing_keys,
        link=parts.link, clock=parts.clock, safe_mode=safe_mode, published=published, heartbeat_s=settings.heartbeat_s,
    )  # fmt: skip
    service.publish, service.refresh = loops.publish, loops.read
    if book.load():
        passes.holders = book.kept.holders
        for told in book.kept.told:
            with suppress(wire.UnknownKeyError):
                service.take(told)
    await loops.read()
    on_commit(loops.noticed)
    parts.run("emergency", loops.run)
    parts.quick.append(loops.probe)
    parts.ways.append(lambda: service.can_act() and parts.link.connected)
    return service
