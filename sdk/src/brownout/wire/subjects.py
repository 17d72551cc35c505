"""The subjects and streams of an environment."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


SIGNATURE_HEADER = "Bo-Sig"


class Subjects:
    """The subjects and streams of one environment."""

    def __init__(self, environment: str) -> None:
        self.log_write = f"bow.{environment}.log"
        self.manifest = f"bow.{environment}.snap.m"
        self.keys = f"bow.{environment}.snap.k"
        self.chunks = f"bow.{environment}.snap.c.>"
        self.snapshot_all = f"bow.{environment}.snap.>"
        self.log = f"bo.{environment}.log"
        self.heartbeat = f"bo.{environment}.hb"
        self.emergency = f"bo.{environment}.emg"
        self.presence_all = f"bot.{environment}.*.*.p"
        self.telemetry_all = f"bot.{environment}.*.*.m"
        self.log_stream = f"BO_LOG_{environment}"
        self.snapshot_stream = f"BO_SNAP_{environment}"
        self._environment = environment

    def chunk(self, sid: str, index: int) -> str:
        return f"bow.{self._environment}.snap.c.{sid}.{index}"

    def chunks_of(self, sid: str) -> str:
        """The wildcard for the chunks of one snapshot."""
        return f"bow.{self._environment}.snap.c.{sid}.*"

    def inbox(self, instance: str) -> str:
        """The inbox prefix an instance connects with: the environment is part of it, so that no key of another one can
        listen to its answers."""
        return f"_INBOX_{self._environment}.{instance}"

    def presence(self, key: str, instance: str) -> str:
        """`key` is the fingerprint of the SDK key that the instance holds: the server vouches for it, not the sender."""
        return f"bot.{self._environment}.{key}.{instance}.p"

    def telemetry(self, key: str, instance: str) -> str:
        return f"bot.{self._environment}.{key}.{instance}.m"

    def lease_request(self, key: str, instance: str) -> str:
        return f"bot.{self._environment}.{key}.{instance}.lease"

    def lease(self, key: str, instance: str) -> str:
        """Where an instance hears what it may spend of budget windows."""
        return f"bo.{self._environment}.lease.{key}.{instance}"

    def acknowledgement(self, key: str, instance: str) -> str:
        """Where an instance hears that its last telemetry is written down. The control plane makes this of the subject
        that the server let it speak on: it never publishes where a message tells it to."""
        return f"bo.{self._environment}.ack.{key}.{instance}"
