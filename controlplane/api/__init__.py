"""JSON controllers: thin, no SQL, no rules. Each capability adds its own.

Every handler declares what it needs, or lets no one in (api/guard.py): `opt={"action": Action.EDIT}`,
`opt={"signed_in": True}` for anyone signed in, or `opt={"public": True}`. Besides: `fresh` wants a fresh proof of who
asks (what is SENSITIVE wants it by itself), `unfinished` names the stages of a sign-in that may already use it, and
`anywhere` is open to every address.
"""

from litestar import Controller

from controlplane.api.account import AccountController
from controlplane.api.addresses import AddressRulesController
from controlplane.api.approvals import BreakGlassController, ProposalController, RuleController
from controlplane.api.audit import AuditController
from controlplane.api.budgets import BudgetController
from controlplane.api.coverage import CoverageController
from controlplane.api.demo import DemoController
from controlplane.api.documents import DocumentController
from controlplane.api.environments import EnvironmentController
from controlplane.api.evaluate import EvaluationController
from controlplane.api.fleet import FleetController
from controlplane.api.history import CommitController, HistoryController
from controlplane.api.keys import SdkKeyController, SigningKeyController, TokenController
from controlplane.api.metrics import MetricsController
from controlplane.api.notify import ChannelController, EventController, SubscriptionController, TeamController
from controlplane.api.ofrep import OfrepController
from controlplane.api.oidc import OidcController
from controlplane.api.people import PeopleController, SessionsController
from controlplane.api.resources import resource_controllers
from controlplane.api.rollouts import RolloutController
from controlplane.api.safemode import SafeModeController
from controlplane.api.second_factor import SecondFactorController
from controlplane.api.session import SessionController
from controlplane.api.signals import SignalsController
from controlplane.api.system import SystemController

_CONTROLLERS: tuple[type[Controller], ...] = (
    SystemController,
    MetricsController,
    EnvironmentController,
    CommitController,
    HistoryController,
    DocumentController,
    SafeModeController,
    EvaluationController,
    OfrepController,
    SessionController,
    SecondFactorController,
    AccountController,
    AddressRulesController,
    SessionsController,
    PeopleController,
    SdkKeyController,
    SigningKeyController,
    TokenController,
    AuditController,
    FleetController,
    SignalsController,
    BudgetController,
    RolloutController,
    CoverageController,
    TeamController,
    ChannelController,
    SubscriptionController,
    EventController,
    OidcController,
    DemoController,
    RuleController,
    ProposalController,
    BreakGlassController,
)


def controllers() -> tuple[type[Controller], ...]:
    """All of them, those of the kinds of resources included."""
    return (*_CONTROLLERS, *resource_controllers())
