"""`brownout-sidecar`, or `python -m brownout.sidecar`."""

import argparse
import logging
import os

from brownout.client import Brownout
from brownout.errors import ConfigurationError
from brownout.sidecar.listen import DEFAULT, MODE

USAGE = 2


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="brownout-sidecar",
        description="Serves the SDK's decisions on this machine. BROWNOUT_NATS_URL, BROWNOUT_SDK_KEY, "
        "BROWNOUT_ENVIRONMENT and BROWNOUT_SERVICE say which; every variable of the SDK applies.",
    )
    listen = os.environ.get("BROWNOUT_SIDECAR_LISTEN", DEFAULT)
    parser.add_argument("--listen", default=listen, help="HOST:PORT on loopback, or unix:PATH (default: %(default)s)")
    parser.add_argument("--socket-mode", default=MODE, help="permissions of a Unix socket (default: %(default)s)")
    given = parser.parse_args(arguments)
    try:
        from brownout.sidecar.server import serve
    except ImportError:
        parser.exit(USAGE, "brownout-sidecar: pip install 'brownout[sidecar]'\n")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        serve(Brownout.connect, given.listen, given.socket_mode)
    except ConfigurationError as error:
        parser.exit(USAGE, f"brownout-sidecar: {error}\n")


if __name__ == "__main__":
    main()
