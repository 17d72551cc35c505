"""Constants and small helpers that fixtures and tests share."""

from brownout.wire.telemetry import ENCODER, TelemetryMessage
from controlplane.telemetry.boundary import Speaker
from controlplane.telemetry.ingest import Ingest

SECRET_KEY = "a secret of the tests, long enough to be one"


def take(ingest: Ingest, environment: str, message: TelemetryMessage, key: str = "key") -> None:
    """Hands over `message` as if an instance had sent it with the SDK key of that fingerprint."""
    ingest.take(Speaker(environment, key, message.instance), ENCODER.encode(message))
