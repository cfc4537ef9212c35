"""What the driver leaves behind when a connection is lost."""

import asyncio
import gc
import logging

import asyncpg
import pytest

from marketd.store.session import unheard


def left_behind(error: Exception) -> None:
    """A future that nobody waits for."""
    asyncio.get_running_loop().create_future().set_exception(error)
    gc.collect()


async def test_a_lost_connection_that_nobody_asks_about_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    asyncio.get_running_loop().set_exception_handler(unheard)
    left_behind(asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"))
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []
    left_behind(ValueError("something else"))
    assert [record.levelname for record in caplog.records if record.levelno > logging.DEBUG] == ["ERROR"]
    assert "never retrieved" in caplog.records[-1].getMessage()


async def test_a_task_that_ended_with_one_is_said_as_ever(caplog: pytest.LogCaptureFixture) -> None:
    async def asks() -> None:
        raise asyncpg.ConnectionDoesNotExistError("nobody caught it")

    asyncio.get_running_loop().set_exception_handler(unheard)
    task = asyncio.create_task(asks())
    await asyncio.sleep(0.01)
    del task
    gc.collect()
    assert [record.levelname for record in caplog.records if record.levelno > logging.DEBUG] == ["ERROR"]
