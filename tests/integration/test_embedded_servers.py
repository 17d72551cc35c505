import json
import urllib.request
from pathlib import Path

import asyncpg
import pytest

from controlplane.embedded.nats import EmbeddedNats
from controlplane.embedded.postgres import EmbeddedPostgres


@pytest.mark.anyio
async def test_postgres_keeps_its_data_over_a_kill_and_asks_for_the_password(tmp_path: Path) -> None:
    closed = tmp_path  # 0700: as root, Postgres's own user cannot walk down here
    with EmbeddedPostgres(closed / "pg") as server:
        connection = await asyncpg.connect(server.dsn())
        await connection.execute("CREATE TABLE kept AS SELECT 42 AS n")
        await connection.close()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(f"postgresql://postgres:wrong@127.0.0.1:{server.port}/postgres")
        server.kill()
        server.start()
        connection = await asyncpg.connect(server.dsn())
        assert await connection.fetchval("SELECT n FROM kept") == 42
        await connection.close()


def test_nats_answers_with_jetstream_on(nats_server: EmbeddedNats) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{nats_server.monitor_port}/jsz") as answer:
        assert json.load(answer)["config"]["store_dir"].startswith(str(nats_server.directory))
