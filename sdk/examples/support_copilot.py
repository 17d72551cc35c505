"""A support copilot that asks Brownout what to do for every request, and does it.

    python sdk/examples/support_copilot.py --data-dir .brownout       # beside `brownout up --demo`
    python sdk/examples/support_copilot.py --ask "Where is my order?" # one question

It starts a stub of an OpenAI-compatible provider of its own, so no key and no network are needed. Break the stub with
`curl -X POST localhost:<port>/faults -d '{"fault": "outage"}'` (or rate_limits, slow, refusals, none), or switch safe mode
on (`brownout safe-mode on contain --for 10m --reason "trying it"`), and watch the answers change.
Needs `pip install brownout openai`.
"""

import argparse
import itertools
import json
import os
import random
import sys
import time
from pathlib import Path

from copilot.assistant import Assistant, Reply
from copilot.provider_stub import ProviderStub

from brownout import Brownout

ENVIRONMENT = "production"
QUESTIONS = (
    "Where is my order?",
    "I was charged twice, please refund me.",
    "How do I change my address?",
    "Your app crashes when I open it.",
)


def main() -> None:
    asked = _arguments()
    with ProviderStub() as stub, _connect(asked) as client:
        print(f"provider stub: {stub.url} (POST /faults)", flush=True)
        client.wait_configured(timeout_s=10)
        assistant = Assistant(client, stub.url)
        if asked.ask:
            print(_line(asked.ask, assistant.answer(asked.ask, _person(1))))
            return
        for number in itertools.count():
            question = QUESTIONS[number % len(QUESTIONS)]
            print(_line(question, assistant.answer(question, _person(random.randrange(1_000)))), flush=True)
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
    banner = f" [{reply.banner}]" if reply.banner else ""
    return f"{question}{banner}\n  {reply.by} ({reply.duration_ms:.0f} ms, r{reply.revision}): {reply.text}"


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
