"""`brownout sidecar`: decisions on this machine for services in any language (docs/sdk/sidecar.md)."""

import logging
from typing import Annotated

from brownout.sidecar.listen import DEFAULT, MODE
from controlplane.cli.command import Noun, Option
from controlplane.cli.session import CliError
from controlplane.cli.verb import reporting
from controlplane.cli.watch import connection
from controlplane.contract.problems import USAGE


def register(app: Noun) -> None:
    app.add("sidecar", sidecar)


def sidecar(
    *,
    listen: Annotated[
        str, Option(help="HOST:PORT on loopback, or unix:PATH.", envvar="BROWNOUT_SIDECAR_LISTEN")
    ] = DEFAULT,
    socket_mode: Annotated[str, Option(help="Permissions of a Unix socket.")] = MODE,
    environment: Annotated[str, Option("--env", "-e", envvar="BROWNOUT_ENVIRONMENT")] = "production",
    service: Annotated[str, Option(help="The service to be, for safe mode's scopes.", envvar="BROWNOUT_SERVICE")] = "",
    nats: Annotated[str, Option("--nats", help="The NATS URL.", envvar="BROWNOUT_NATS_URL")] = "",
    key: Annotated[str, Option("--key", help="An SDK key.", envvar="BROWNOUT_SDK_KEY", shown=False)] = "",
    data_dir: Annotated[str, Option(help="Where `brownout up` keeps its data.", envvar="BROWNOUT_DATA_DIR")] = "",
) -> None:
    """Serve decisions on this machine: OFREP, policies, records and changes, from an SDK's memory."""
    from brownout import Brownout, ConfigurationError
    from brownout.sidecar.server import serve

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with reporting(as_json=False):
        url, sdk_key = connection(nats, key, data_dir, environment)
        try:
            serve(
                lambda: Brownout.connect(url, key=sdk_key, environment=environment, service=service),
                listen, socket_mode,
            )  # fmt: skip
        except ConfigurationError as error:
            raise CliError(str(error), USAGE) from None
