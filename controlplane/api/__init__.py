"""JSON controllers: thin, no SQL, no rules. Each capability adds its own to CONTROLLERS.

Every handler declares what it needs: `opt={"action": Action.EDIT}`, or `opt={"public": True}`.
"""

from collections.abc import Sequence

from litestar import Controller

from controlplane.api.system import SystemController

CONTROLLERS: Sequence[type[Controller]] = (SystemController,)
