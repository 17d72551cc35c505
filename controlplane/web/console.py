"""The console as one router: its pages, its files, its errors. `app.create_app` mounts it."""

from typing import Any

from litestar import Request, Router, get
from litestar.di import NamedDependency, Provide
from litestar.response import Redirect

from controlplane.access.actor import Actor
from controlplane.services import Services
from controlplane.web.access.account import AccountController
from controlplane.web.access.approvals import ApprovalsController
from controlplane.web.access.keys import KeysController
from controlplane.web.access.people import PeopleController
from controlplane.web.access.sign_in import SignInController
from controlplane.web.budgets.page import BudgetsController
from controlplane.web.coverage.page import CoverageController
from controlplane.web.demo.page import DemoPageController
from controlplane.web.docs.pages import docs
from controlplane.web.editing.review import ReviewController
from controlplane.web.flags.flag import FlagController
from controlplane.web.flags.list import FlagsController
from controlplane.web.fleet.page import FleetController
from controlplane.web.history.pages import HistoryController
from controlplane.web.history.restore import RestoreController
from controlplane.web.kit.assets import Assets, serve_asset
from controlplane.web.kit.framing import url
from controlplane.web.kit.problems import HTML_EXCEPTION_HANDLERS
from controlplane.web.kit.render import UI, Templates
from controlplane.web.kit.visit import Visit
from controlplane.web.notifications.acknowledge import AcknowledgeController
from controlplane.web.notifications.changes import ChannelChangesController
from controlplane.web.notifications.channels import ChannelsController
from controlplane.web.notifications.events import EventsController
from controlplane.web.overview.live import LiveBoards, LiveController
from controlplane.web.overview.page import OverviewController
from controlplane.web.playground.page import PlaygroundController
from controlplane.web.request_classes.matrix import MatrixController
from controlplane.web.resources.pages import resource_pages
from controlplane.web.rollouts.new import NewRolloutController
from controlplane.web.rollouts.pages import RolloutsController
from controlplane.web.safe_mode.activate import ActivateController
from controlplane.web.safe_mode.emergency import EmergencyController
from controlplane.web.safe_mode.page import SafeModeController
from controlplane.web.search.palette import PaletteController
from controlplane.web.signals.page import SignalsController


async def provide_visit(
    request: Request[Any, Any, Any],
    services: NamedDependency[Services],
    actor: NamedDependency[Actor],
    templates: NamedDependency[Templates],
) -> Visit:
    return Visit(services, actor, templates, request)


@get("/", opt={"signed_in": True}, include_in_schema=False)
async def home(visit: NamedDependency[Visit]) -> Redirect:
    """The first environment there is: production, when there is one of that name."""
    found = await visit.services.reads.environments(visit.actor)
    keys = [environment.key for environment in found]
    return Redirect(url("production" if "production" in keys or not keys else keys[0]))


def console(services: Services) -> tuple[Router, Templates]:
    """The router, and the templates that its error pages need too."""
    assets = Assets.load(UI / "dist")
    templates = Templates(assets)
    boards = LiveBoards(services, templates)
    router = Router(
        "/",
        route_handlers=[
            serve_asset,
            home,
            docs(),
            SignInController,
            AccountController,
            OverviewController,
            ActivateController,
            EmergencyController,
            SafeModeController,
            LiveController,
            PaletteController,
            FleetController,
            MatrixController,
            CoverageController,
            SignalsController,
            BudgetsController,
            NewRolloutController,
            RolloutsController,
            PlaygroundController,
            EventsController,
            ChannelsController,
            ChannelChangesController,
            AcknowledgeController,
            PeopleController,
            KeysController,
            ApprovalsController,
            DemoPageController,
            FlagsController,
            FlagController,
            resource_pages(),
            ReviewController,
            RestoreController,
            HistoryController,
        ],
        dependencies={
            "assets": Provide(lambda: assets, sync_to_thread=False),
            "templates": Provide(lambda: templates, sync_to_thread=False),
            "visit": Provide(provide_visit),
            "boards": Provide(lambda: boards, sync_to_thread=False),
        },
        exception_handlers=HTML_EXCEPTION_HANDLERS,
    )
    return router, templates
