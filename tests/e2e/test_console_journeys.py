"""What people do in the console, in a real Chromium, over `brownout up` and thirty real SDK instances."""

import re
import time
from collections.abc import Iterator
from datetime import datetime

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.e2e.browser import NARROW, NO_SHARED_WORKER, PASSWORD, Watched
from tests.e2e.console import ROUTES, SERVICES, Console, open_console

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser"), pytest.mark.timeout(600)]

MODEL = {"type": "model_route", "variants": ROUTES, "off_variant": "small", "default": "small"}
ALL = f"{len(SERVICES)}/{len(SERVICES)}"


@pytest.fixture(scope="module")
def console(browser: Browser) -> Iterator[Console]:
    with open_console(browser) as opened:
        yield opened


@pytest.fixture
def calm(console: Console) -> Iterator[None]:
    """Safe mode is off before and after."""
    console.lift_all()
    yield
    console.lift_all()


def activate(page: Page, reason: str) -> None:
    """The three interactions: open, say why, type the environment's name and press Enter."""
    page.get_by_role("link", name="Activate safe mode…").first.click()
    page.get_by_label("Reason").fill(reason)
    page.get_by_label("Type production to confirm").fill("production")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("saved="))


def said(took: str) -> tuple[float, float]:
    """`in 0.11 s` and `in 1.3 s` as seconds, and how far rounding may have moved them."""
    _, number, _ = took.split()
    return float(number), 0.5 / 10 ** len(number.partition(".")[2])


AHEAD_S, BEHIND_S = 0.005, 0.05
"""What nobody can tell from an instance's clock being off: how long its fastest message was on its way. Beside a busy
browser that is tens of milliseconds, and it only ever makes an instance look later than it was."""


def reload_until(page: Page, there: Locator, timeout_s: float = 60) -> None:
    """What instances report comes every ten seconds, to pages that are not live."""
    deadline = time.monotonic() + timeout_s
    while not there.count() and time.monotonic() < deadline:
        page.wait_for_timeout(500)
        page.reload()
    expect(there).to_be_visible()


def say_why(page: Page, words: str, button: str | re.Pattern[str]) -> None:
    page.get_by_label("Why").fill(words)
    page.get_by_role("button", name=button).click()
    page.wait_for_url(re.compile("saved="))


def test_safe_mode_in_three_interactions_and_the_fleet_confirms(console: Console, calm: None) -> None:
    with console.visit() as seen:
        page = seen.page
        page.goto("/e/production")
        clicked = time.time()
        activate(page, "Duplicate refunds")
        expect(page.locator("#convergence .count")).to_contain_text(ALL)
        expect(page.locator("#convergence")).to_contain_text("100 % in")
        expect(page.locator("#convergence .count small")).to_have_text(re.compile(r"^in \d"))
        said_s, rounding_s = said(page.locator("#convergence .count small").inner_text())
        assert said_s < time.time() - clicked
        applied = [client.status.applied_at for client in console.clients]
        activated_at = console.api("GET", "environments/production/safe-mode")["active"][0]["activated_at"]
        last_s = (max(filter(None, applied)) - datetime.fromisoformat(activated_at)).total_seconds()
        assert None not in applied
        assert last_s - rounding_s - AHEAD_S <= said_s <= last_s + rounding_s + BEHIND_S
        revision = int(re.findall(r"r(\d+)", page.locator("#fleet-chip").inner_text())[0])
        assert all(client.status.revision >= revision for client in console.clients)
        assert all(client.policy("support-reply", {}).safe_mode.active for client in console.clients)
        for path in ("/flags", "/history", "/fleet"):
            page.goto(f"/e/production{path}")
            expect(page.locator("#safe-banner")).to_contain_text("Safe mode is on")
        seen.check()


def test_activation_for_one_request_class_then_extended_then_lifted(console: Console, calm: None) -> None:
    with console.visit() as seen:
        page = seen.page
        page.goto("/e/production/safe-mode/activate")
        page.get_by_text("Only…").click()
        page.get_by_role("checkbox", name="support-reply").check()
        expect(page.locator("#radius")).to_contain_text("Unchanged: refund-decision")
        page.get_by_label("Reason").fill("Only replies are wrong")
        expect(page.get_by_role("button", name=re.compile("Activate .* for 1 h"))).to_be_disabled()
        page.get_by_label("Type production to confirm").fill("production")
        page.get_by_role("button", name=re.compile("Activate .* for 1 h")).click()
        expect(page.locator("#convergence .count")).to_contain_text(ALL)
        assert console.clients[0].policy("support-reply", {}).safe_mode.active
        assert not console.clients[0].policy("refund-decision", {}).safe_mode.active
        page.get_by_role("link", name="Extend…").click()
        page.get_by_text("4 h", exact=True).click()
        page.get_by_role("button", name="Extend").click()
        expect(page.locator("#safe-panel .left")).to_contain_text(re.compile(r"4 h 59 min|5 h"))
        page.get_by_role("link", name="Lift safe mode…").click()
        page.get_by_label("Why now").fill("Fixed")
        page.get_by_role("button", name="Lift now").click()
        expect(page.locator("#safe")).to_have_text("Safe mode is off")
        expect(page.locator("#safe-banner")).to_be_empty()
        seen.check()


def test_a_wrong_name_activates_nothing(console: Console, calm: None) -> None:
    with console.visit(java_script_enabled=False) as seen:
        page = seen.page
        page.goto("/e/production/safe-mode/activate")
        page.get_by_label("Reason").fill("Trying")
        page.get_by_label("Type production to confirm").fill("prodction")
        page.get_by_role("button", name=re.compile("Activate")).click()
        expect(page.get_by_text("Not activated. Type “production” exactly.")).to_be_visible()
    assert console.api("GET", "environments/production/safe-mode")["active"] == []


def test_an_environment_is_counted_as_production(console: Console) -> None:
    with console.visit() as seen:
        page = seen.page
        page.goto("/e/staging/safe-mode/activate")
        expect(page.get_by_label("Type staging to confirm")).to_have_count(0)
        page.goto("/e/staging/access/approvals")
        page.get_by_role("button", name="Treat this environment as production").click()
        expect(page.locator("body")).to_have_attribute("data-tier", "production")
        page.goto("/e/staging/safe-mode/activate")
        expect(page.get_by_label("Type staging to confirm")).to_be_visible()
        console.api("PATCH", "environments/staging", {"production": False})
        page.reload()
        expect(page.get_by_label("Type staging to confirm")).to_have_count(0)
        seen.check()


def test_another_viewer_sees_the_activation_without_reloading(console: Console, calm: None) -> None:
    with console.visit() as watching, console.visit() as acting:
        watching.page.goto("/e/production")
        expect(watching.page.locator("body")).to_have_attribute("data-stream", "live")
        acting.page.goto("/e/production")
        activate(acting.page, "Somebody else acts")
        expect(watching.page.locator("#safe")).to_contain_text("Safe mode is on")
        expect(watching.page.locator("#safe-banner")).to_contain_text("Safe mode is on")
        expect(watching.page.locator("#last-commits")).to_contain_text("Somebody else acts")
        watching.check()


def test_a_cohort_from_5_to_25_per_cent_with_review(console: Console) -> None:
    console.flag("cohort-model")
    with console.visit() as seen:
        page = seen.page
        page.goto("/e/production/flags/cohort-model")
        share = page.get_by_label("big, per cent")
        share.fill("25")
        share.press("Tab")
        expect(page.get_by_label("small, per cent")).to_have_value("75")
        expect(page.locator(".savebar")).to_contain_text("not saved")
        expect(page.locator(".split-row").first).to_contain_text("was 5")
        page.get_by_role("button", name="Review change…").click()
        expect(page.get_by_role("dialog")).to_contain_text('"weight_bp": 2500')
        say_why(page, "Offline evaluation held", "Save as r")
        expect(page.get_by_role("status").first).to_contain_text("Saved as r")
        seen.check()
    spec = console.api("GET", "environments/production/flags/cohort-model")["spec"]
    assert spec["rules"][1]["serve"]["split"][0] == {"variant": "big", "weight_bp": 2500}


def test_rules_are_added_moved_and_removed(console: Console) -> None:
    console.flag("rules-model")
    with console.visit() as seen:
        page = seen.page
        page.goto("/e/production/flags/rules-model")
        page.get_by_role("button", name="Add a rule").click()
        expect(page.locator(".rule")).to_have_count(3)
        page.get_by_role("button", name="Move rule 3 up").click()
        expect(page.locator(".rule").nth(1)).to_have_attribute("id", "rule-rule-1")
        page.get_by_role("button", name="+ attribute condition, rule 2").click()
        page.get_by_label("Attribute, rule 2, condition 2").fill("region")
        page.get_by_label("Values, rule 2, condition 2").fill("eu, us")
        page.get_by_role("button", name="Remove rule 1", exact=True).click()
        expect(page.locator(".rule")).to_have_count(2)
        expect(page.get_by_label("Values, rule 1, condition 2")).to_have_value("eu, us")
        page.get_by_role("button", name="Review change…").click()
        say_why(page, "Rules in order", "Save as r")
        seen.check()
    rules = console.api("GET", "environments/production/flags/rules-model")["spec"]["rules"]
    assert [rule["id"] for rule in rules] == ["rule-1", "beta"]
    assert rules[0]["if"][1] == {"op": "in", "attribute": "region", "values": ["eu", "us"]}


def test_a_stale_edit_overwrites_nothing(console: Console) -> None:
    console.flag("stale-model")
    with console.visit() as seen:
        page = seen.page
        page.goto("/e/production/flags/stale-model")
        page.get_by_label("Description").fill("Mine")
        page.get_by_label("Description").press("Tab")
        expect(page.locator(".savebar")).to_contain_text("not saved")
        spec = console.api("GET", "environments/production/flags/stale-model")["spec"]
        console.put("flag", "stale-model", {**spec, "owner": "theirs"})
        page.get_by_role("button", name="Review change…").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("while you edited")
        expect(dialog.get_by_label("Their change")).to_contain_text("theirs")
        expect(dialog.get_by_label("Your change")).to_contain_text("Mine")
        assert console.api("GET", "environments/production/flags/stale-model")["spec"]["owner"] == "theirs"
        say_why(page, "Both looked at", re.compile("Save both on top"))
        seen.check()
    saved = console.api("GET", "environments/production/flags/stale-model")["spec"]
    assert (saved["description"], saved["owner"]) == ("Mine", "theirs")


def test_a_rollout_to_a_bad_model_is_planned_started_and_rolls_itself_back(console: Console) -> None:
    console.put("flag", "reply-model", MODEL)
    console.put("request_class", "reply", {"criticality": "critical", "model": "reply-model"})
    console.wait_for_head()
    console.serve("reply", range(2_000))
    with console.visit() as seen:
        page = seen.page
        page.goto("/e/production/rollouts")
        page.get_by_role("link", name="Plan a rollout").first.click()
        page.get_by_label("Name").fill("reply-big")
        page.get_by_label("Why").fill("Better answers, they say")
        page.get_by_role("combobox", name="Flag").select_option("reply-model")
        page.get_by_label("Control").select_option("small")
        page.get_by_label("Treatment").select_option("big")
        page.get_by_label("Weight, %").first.fill("40")
        page.get_by_label("Measure").first.fill("refusal")
        page.get_by_role("button", name="Save the draft").click()
        page.wait_for_url(re.compile("/rollouts/reply-big"))
        needed = page.get_by_role("region", name="Units needed to notice")
        reload_until(page, needed.get_by_role("row", name=re.compile(r"^Refusal .*\d units")))
        assert console.models("reply") == {"small"}
        page.get_by_role("link", name="Start…").click()
        say_why(page, "The offline evaluation is fine", "Start")
        expect(page.locator("h1")).to_contain_text("running")
        console.wait_for_head()
        console.serve("reply", range(2_000, 6_000), bad_model="big")
        expect(page.locator("#waits")).to_have_text("Why it was rolled back", timeout=120_000)
        expect(page.locator("#rollout-live")).to_contain_text("efusal")
        seen.check()
    console.wait_for_head()
    assert console.models("reply") == {"small"}


def test_whether_a_context_belongs_to_a_cohort(console: Console) -> None:
    with console.visit() as seen:
        page = seen.page
        page.goto("/e/production/cohorts/beta")
        ask = page.get_by_role("region", name="Does this context belong?")
        ask.get_by_label("Context").fill('{"plan": "beta"}')
        ask.get_by_role("button", name="Ask").click()
        expect(ask).to_contain_text("Yes, it belongs")
        expect(ask).to_contain_text("description 1 holds")
        ask.get_by_label("Context").fill('{"plan": "pro"}')
        ask.get_by_role("button", name="Ask").click()
        expect(ask).to_contain_text("No, it does not belong")
        ask.get_by_label("Context").fill("plan = pro")
        ask.get_by_role("button", name="Ask").click()
        expect(ask).to_contain_text("No answer")
        seen.check()


def test_the_list_of_flags_says_what_cohorts_get_and_when_it_was_last_asked(console: Console) -> None:
    console.clients[0].policy("support-reply", {"targeting_key": "u-1"})
    with console.visit() as seen:
        page = seen.page
        row = page.get_by_role("row", name=re.compile("^support-model"))
        page.goto("/e/production/flags")
        reload_until(page, row.filter(has_text="within 15 min"))
        expect(row).to_contain_text(re.compile(r"internal\s*big"))
        expect(row).to_contain_text(re.compile(r"beta\s*big 5\s%"))
        seen.check()


def test_who_changed_what_is_found_and_undone(console: Console) -> None:
    console.flag("undo-model")
    spec = console.api("GET", "environments/production/flags/undo-model")["spec"]
    console.put("flag", "undo-model", {**spec, "default": "big"})
    with console.visit() as seen:
        page = seen.page
        page.goto("/e/production/history")
        page.get_by_label("Key").fill("undo-model")
        page.get_by_role("button", name="Filter").click()
        expect(page.locator(".commit")).to_have_count(2)
        page.locator(".commit").first.get_by_role("link").nth(1).click()
        expect(page.get_by_label(re.compile("Diff of"))).to_contain_text('"default": "big"')
        page.get_by_role("link", name="Undo in a new commit…").click()
        say_why(page, "It was too early", re.compile("Commit as r"))
        seen.check()
    assert console.api("GET", "environments/production/flags/undo-model")["spec"]["default"] == "small"


def test_a_flag_is_restored_to_what_it_was(console: Console) -> None:
    console.flag("back-model")
    spec = console.api("GET", "environments/production/flags/back-model")["spec"]
    for variant in ("big", "small", "big"):
        console.put("flag", "back-model", {**spec, "default": variant})
    with console.visit() as seen:
        page = seen.page
        page.goto("/e/production/flags/back-model/history")
        expect(page.get_by_role("link", name="Restore…")).to_have_count(3)
        page.get_by_role("link", name="Restore…").first.click()
        expect(page.get_by_role("region", name="Restore back-model")).to_contain_text('"default": "small"')
        say_why(page, "Back to small", re.compile("Commit as r"))
        seen.check()
    assert console.api("GET", "environments/production/flags/back-model")["spec"]["default"] == "small"


def test_a_new_flag_is_made_and_tried(console: Console) -> None:
    with console.visit() as seen:
        page = seen.page
        page.goto("/e/production/flags")
        page.get_by_role("link", name="New flag").click()
        page.get_by_label("Key").fill("greeting")
        page.get_by_label("Type").select_option("string")
        expect(page.locator(".variants .group")).to_have_count(1)
        page.get_by_label("Value").fill("Hello")
        page.get_by_label("Value").press("Tab")
        page.get_by_role("button", name="Review change…").click()
        say_why(page, "A greeting", re.compile("Save as r"))
        page.get_by_role("link", name="Playground").last.click()
        page.get_by_role("button", name="Try it").click()
        expect(page.get_by_label("Value")).to_contain_text("Hello")
        seen.check()


def test_a_viewer_looks_and_is_refused(console: Console) -> None:
    made = console.api(
        "POST", "people", {"email": "vera@example.com", "name": "Vera", "grants": {"production": ["viewer"]}}
    )
    context = console.context(storage_state=None)
    page = context.new_page()
    page.goto(made["link"])
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Set password and sign in").click()
    expect(page.locator("#safe")).to_contain_text("Safe mode is")
    expect(page.get_by_role("link", name="Activate safe mode…")).to_have_count(0)
    assert page.goto("/e/production/safe-mode/activate").status == 403  # type: ignore[union-attr]
    expect(page.get_by_role("heading", name="Not allowed")).to_be_visible()
    page.goto("/e/production/flags/support-model")
    page.get_by_label("Description").fill("Vera was here")
    page.get_by_label("Description").press("Tab")
    expect(page.locator(".savebar")).to_contain_text("not change it")
    context.close()


def test_the_phone_at_360_pixels(console: Console, calm: None) -> None:
    with console.visit(NARROW) as seen:
        page = seen.page
        page.goto("/e/production")
        page.get_by_role("button", name="Sections").click()
        page.get_by_role("link", name=re.compile("^Overview")).click()
        activate(page, "From the train")
        expect(page.locator("#convergence .count")).to_contain_text(ALL)
        for path in ("", "/safe-mode", "/flags", "/flags/support-model", "/history", "/fleet", "/request-classes"):
            page.goto(f"/e/production{path}")
            assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"], path
        seen.check()


def test_by_keyboard_alone(console: Console, calm: None) -> None:
    with console.visit() as seen:
        page = seen.page
        page.goto("/e/production/flags")
        page.keyboard.press("Control+k")
        page.keyboard.type("activate")
        expect(page.locator("#palette-list a").first).to_contain_text("Activate safe mode…")
        page.keyboard.press("Enter")
        expect(page.get_by_label("Reason")).to_be_focused()
        page.keyboard.type("By keyboard")
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.id") == "confirm":
                break
        page.keyboard.type("production")
        page.keyboard.press("Enter")
        expect(page.locator("#safe")).to_contain_text("Safe mode is on")
        page.goto("/e/production/safe-mode/activate")
        page.keyboard.press("Escape")
        expect(page).to_have_url(re.compile("/e/production$"))
        seen.check()


def test_with_the_event_stream_cut_the_page_says_so_and_works(console: Console, calm: None) -> None:
    with console.visit() as seen:
        page = seen.page
        page.add_init_script(NO_SHARED_WORKER)
        page.route("**/live?*", lambda route: route.abort())
        page.goto("/e/production")
        expect(page.locator("#not-live")).to_be_visible()
        activate(page, "Without the stream")
        expect(page.locator("#safe")).to_contain_text("Safe mode is on")
        page.unroute("**/live?*")
        expect(page.locator("#not-live")).to_be_hidden(timeout=30_000)
        expect(page.locator("#convergence .count")).to_contain_text(ALL)


def test_a_network_that_fails_without_a_word_is_noticed(console: Console, calm: None) -> None:
    """Gone as the browser knows, and gone as only the silence tells: a server that hangs ends no stream."""
    with console.visit() as seen:
        page = seen.page
        page.add_init_script(NO_SHARED_WORKER)
        page.clock.install()
        page.goto("/e/production")
        expect(page.locator("body")).to_have_attribute("data-stream", "live")
        page.context.set_offline(True)
        expect(page.locator("#not-live")).to_be_visible()
        page.context.set_offline(False)
        expect(page.locator("#not-live")).to_be_hidden()
        page.clock.fast_forward(26_000)
        expect(page.locator("#not-live")).to_be_visible()
        page.clock.fast_forward(3_000)
        expect(page.locator("#not-live")).to_be_hidden()


def test_the_server_restarts_in_between(console: Console, calm: None) -> None:
    with console.visit() as seen:
        page = seen.page
        page.goto("/e/production")
        expect(page.locator("body")).to_have_attribute("data-stream", "live")
        console.up.stop()
        expect(page.locator("#not-live")).to_be_visible()
        console.up.start()
        expect(page.locator("#not-live")).to_be_hidden(timeout=30_000)
        activate(page, "After the restart")
        expect(page.locator("#convergence .count")).to_contain_text(ALL, timeout=30_000)


def test_what_is_found_by_the_palette(console: Console) -> None:
    with console.visit() as seen:
        page = seen.page
        page.goto("/e/production")
        page.get_by_role("button", name=re.compile("Search")).click()
        page.get_by_label("Page, flag, cohort or action").fill("refund")
        expect(page.locator("#palette-list")).to_contain_text("refund-model")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile("/e/production/"))
        seen.check()


def _signed_out(seen: Watched, console: Console) -> None:
    seen.page.goto(f"{console.url}/e/production")
    expect(seen.page).to_have_url(re.compile("/sign-in"))


def test_nobody_sees_anything_before_signing_in(console: Console) -> None:
    with console.visit(storage_state=None) as seen:
        _signed_out(seen, console)
        seen.page.get_by_label("Email").fill("mara@example.com")
        seen.page.get_by_label("Password").fill("not this one, surely")
        seen.page.get_by_role("button", name="Sign in").click()
        expect(seen.page.get_by_role("alert")).to_contain_text("Not signed in")


def test_a_prompt_is_edited_and_its_changed_words_are_reviewed(console: Console) -> None:
    say = "You help users of {product}. Answer in two sentences, and never promise a refund."
    spec = {
        "type": "prompt", "off_variant": "plain", "default": "plain",
        "variants": {"plain": {"messages": [{"role": "system", "text": say}], "variables": ["product"]}},
    }  # fmt: skip
    console.put("flag", "support-prompt", spec)
    with console.visit() as seen:
        page = seen.page
        page.goto("/e/production/flags/support-prompt")
        expect(page.get_by_text("system · 81 characters · {product}")).to_be_visible()
        text = page.get_by_label("Text").first
        text.fill(say.replace("two", "three").replace("{product}", "{shop}"))
        text.press("Tab")
        expect(page.locator(".savebar")).to_contain_text("not declared as variables: shop")
        text.fill(say.replace("two", "three"))
        text.press("Tab")
        expect(page.locator(".savebar .broken")).to_have_count(0)
        page.get_by_role("button", name="Review change…").click()
        expect(page.get_by_role("dialog")).to_contain_text("support-prompt plain: messages changed")
        diff = page.get_by_role("region", name="Diff of support-prompt")
        expect(diff.locator("del")).to_have_text("two")
        expect(diff.locator("ins")).to_have_text("three")
        say_why(page, "One sentence more", "Save as r")
        seen.check()
    saved = console.api("GET", "environments/production/flags/support-prompt")["spec"]["variants"]["plain"]
    assert saved["messages"][0]["text"] == say.replace("two", "three")
