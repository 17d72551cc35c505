"""What the commits of safe mode say, and the reason that somebody gave within it. Pure."""

from brownout.model.resources import SafeModeActivation
from controlplane.safemode.values import What, describe_scope


def said(what: What, spec: SafeModeActivation, reason: str = "") -> str:
    """`Safe mode off: contain for everything. tool calls work again`."""
    end, where = f"{spec.expires_at:%Y-%m-%d %H:%M:%SZ}", describe_scope(spec.scope)
    fact = {
        "on": f"Safe mode on: {spec.profile} for {where} until {end}.",
        "changed": f"Safe mode extended: {spec.profile} until {end}.",
        "off": f"Safe mode off: {spec.profile} for {where}.",
        "expired": f"Safe mode expired: {spec.profile} for {where}.",
    }[what]
    return f"{fact} {reason.strip()}".strip()


def reason_in(message: str, what: What, spec: SafeModeActivation) -> str:
    """Why this was done. An activation carries its own reason; what came later is in the commit's message only,
    which is anybody's words when it did not come through safe mode."""
    match what:
        case "on":
            return spec.reason
        case "expired":
            return ""
        case _:
            return message.removeprefix(said(what, spec)).strip()
