"""Safe mode as one capability."""

import secrets
from dataclasses import dataclass
from datetime import timedelta

from controlplane.configuration.changes import Changes
from controlplane.configuration.evaluations import Evaluations
from controlplane.parts import Parts
from controlplane.safemode.expiry import Expiry
from controlplane.safemode.history import SafeModeHistory
from controlplane.safemode.preview import Running, SafeModePreview
from controlplane.safemode.service import SafeMode
from controlplane.safemode.warnings import SafeModeWarnings


@dataclass(frozen=True, kw_only=True)
class SafeModeServices:
    safe_mode: SafeMode
    safe_mode_preview: SafeModePreview
    safe_mode_history: SafeModeHistory
    safe_mode_warnings: SafeModeWarnings


def open_safe_mode(parts: Parts, changes: Changes, evaluations: Evaluations, running: Running) -> SafeModeServices:
    """`running` tells what an activation would reach."""
    longest = timedelta(hours=parts.settings.max_activation_hours)
    parts.run("expiry", Expiry(parts.store, changes, parts.clock, parts.notify).run)
    warnings = SafeModeWarnings(evaluations, running)
    return SafeModeServices(
        safe_mode=SafeMode(parts.store, changes, parts.clock, lambda: secrets.token_hex(3), longest),
        safe_mode_preview=SafeModePreview(evaluations, parts.clock, running, warnings),
        safe_mode_history=SafeModeHistory(parts.store),
        safe_mode_warnings=warnings,
    )
