"""A support copilot whose runner obeys Brownout: models, fallbacks, retries, tools, cache, templates, people.

    python sdk/examples/support_copilot.py --data-dir .brownout       # beside `brownout up --demo`
    python sdk/examples/support_copilot.py --ask "Where is my order?" # one question

It starts a stub of an OpenAI-compatible provider of its own, so no key and no network are needed. Break the stub with
`curl -X POST localhost:<port>/faults -d '{"fault": "outage"}'` (or rate_limits, slow, refusals, none), or switch safe mode
on (`brownout safe-mode on contain --for 10m --reason "trying it"`), and watch the answers change.
Needs `pip install 'brownout[openai]'`.
"""

import argparse
import itertools
import json
import os
import random
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from copilot.provider_stub import ProviderStub
from openai import OpenAI

from brownout import Brownout
from brownout.runner import MemoryPeople, Reply, Runner, ToolCall
from brownout.runner.adapters import openai_chat
from brownout.runner.cache import MemoryCache

ENVIRONMENT = "production"
SYSTEM = "You help customers of a shop."
TOOLS: Mapping[str, Callable[[], str]] = {
    "orders.read": lambda: "order 4711 left our warehouse this morning",
    "kb.search": lambda: "see the help page on addresses",
    "refund.create": lambda: "refund created",
}
"""What the copilot can do, by the names that tool policies use."""
OFFERED = [{"type": "function", "function": {"name": name}} for name in TOOLS]
QUESTIONS = (
    "Where is my order?",
    "I was charged twice, please refund me.",
    "How do I change my address?",
    "Your app crashes when I open it.",
)


def copilot(client: Brownout, provider_url: str) -> Runner:
    """A runner whose providers are all played by the stub. Its customers have no tenants."""
    ask = openai_chat(OpenAI(base_url=f"{provider_url}/v1", api_key="stub"))
    calls = {"openai": ask, "anthropic": ask}
    return Runner(client, calls, cache=MemoryCache(), people=MemoryPeople(), tenant=None)


def answer(runner: Runner, question: str, person: Mapping[str, Any]) -> Reply:
    """One question, answered as the policy for this person says."""
    messages = [{"role": "user", "content": question}]
    with runner.stream(
        "support-reply", person, system=SYSTEM, messages=messages, tools=OFFERED, values={"topic": question}
    ) as request:
        for event in request:
            if isinstance(event, ToolCall):
                request.tool(event, TOOLS[event.name], effect=event.name == "refund.create")
    assert request.reply is not None
    return request.reply


def main() -> None:
    asked = _arguments()
    with ProviderStub() as stub, _connect(asked) as client:
        print(f"provider stub: {stub.url} (POST /faults)", flush=True)
        client.wait_configured(timeout_s=10)
        runner = copilot(client, stub.url)
        if asked.ask:
            print(_line(asked.ask, answer(runner, asked.ask, _person(1))))
            return
        for number in itertools.count():
            question = QUESTIONS[number % len(QUESTIONS)]
            print(_line(question, answer(runner, question, _person(random.randrange(1_000)))), flush=True)
            time.sleep(asked.every)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", default="", help="take the address and the key from `brownout up`'s directory")
    parser.add_argument("--ask", default="", help="answer one question and end")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between questions")
    parser.add_argument("--wait", type=float, default=0.0, help="seconds to wait for the data directory")
    return parser.parse_args()


def _connect(asked: argparse.Namespace) -> Brownout:
    """With a data directory its NATS and key, else BROWNOUT_NATS_URL and BROWNOUT_SDK_KEY."""
    if not asked.data_dir:
        return Brownout.connect(
            environment=os.environ.get("BROWNOUT_ENVIRONMENT", ENVIRONMENT), service="support-copilot"
        )
    folder = Path(asked.data_dir)
    deadline = time.monotonic() + asked.wait
    while not (folder / "sdk-keys.json").exists():
        if time.monotonic() > deadline:
            sys.exit(f"{folder} has no SDK keys: is `brownout up` running?")
        time.sleep(0.2)
    target = json.loads((folder / "cli.json").read_text(encoding="utf-8"))
    keys = json.loads((folder / "sdk-keys.json").read_text(encoding="utf-8"))
    return Brownout.connect(
        target["nats_url"], key=keys[ENVIRONMENT], environment=ENVIRONMENT, service="support-copilot", disk=False
    )


def _person(number: int) -> dict[str, object]:
    return {
        "targeting_key": f"u-{number}",
        "plan": ("free", "pro", "enterprise")[number % 3],
        "beta": number % 7 == 0,
        "name": f"customer {number}",
    }


def _line(question: str, reply: Reply) -> str:
    by = (reply.answered_by or reply.outcome).replace("_", " ")
    said = " ".join(part for part in (f"[{reply.notice}]" if reply.notice else "", reply.text) if part)
    return f"{question}\n  {by} ({reply.duration_ms:.0f} ms, r{reply.policy.revision}): {said}"


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
