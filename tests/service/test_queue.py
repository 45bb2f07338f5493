from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
import redis
from cutting_proxy import CuttingProxy
from own_redis import OwnRedis

from service import queue
from service.queue import RUN_JOB, VALIDATE, WakeUp, broker_trouble, make_celery


def eventually(condition: Callable[[], bool], timeout_s: float = 20) -> bool:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def received(url: str) -> list[tuple[str, list[str]]]:
    """Tasks and arguments that lie in the queue, oldest first."""
    with redis.Redis.from_url(url) as client:
        messages = [json.loads(raw) for raw in reversed(client.lrange("fdkd", 0, -1))]
    return [
        (message["headers"]["task"], json.loads(base64.b64decode(message["body"]))[0]) for message in messages
    ]


def behind(proxy: CuttingProxy, url: str) -> str:
    return url.replace(f":{urlsplit(url).port}", f":{proxy.port}")


def test_without_a_broker_nothing_is_sent_and_no_thread_started() -> None:
    threads = threading.active_count()
    wake_up = WakeUp("")
    wake_up.job("job_a")
    wake_up.close()
    assert threading.active_count() == threads
    assert (wake_up.num_sent, wake_up.num_dropped) == (0, 0)


def test_a_message_holds_the_task_by_name_and_the_id_alone(redis_url: str) -> None:
    wake_up = WakeUp(redis_url)
    wake_up.job("job_a")
    wake_up.validation("dataset", "ds_b")
    assert eventually(lambda: wake_up.num_sent == 2)
    wake_up.close()
    assert received(redis_url) == [(RUN_JOB, ["job_a"]), (VALIDATE, ["dataset", "ds_b"])]


def test_closing_sends_what_is_left(redis_url: str) -> None:
    wake_up = WakeUp(redis_url)
    for number in range(50):
        wake_up.job(f"job_{number}")
    wake_up.close(timeout_s=10)
    assert len(received(redis_url)) == 50


def test_a_broker_that_is_down_delays_nobody_and_is_used_again_when_it_is_back(redis_url: str) -> None:
    with CuttingProxy(urlsplit(redis_url).port or 6379) as proxy:
        wake_up = WakeUp(behind(proxy, redis_url))
        wake_up.job("job_before")
        assert eventually(lambda: wake_up.num_sent == 1)
        proxy.refuse(1000)
        proxy.cut_all()
        begin = time.monotonic()
        wake_up.job("job_meanwhile")
        assert time.monotonic() - begin < 0.5
        assert eventually(lambda: wake_up.num_dropped >= 1)
        assert proxy.fired >= 1
        proxy.refuse(0)

        def arrives() -> bool:
            wake_up.job("job_after")
            return (RUN_JOB, ["job_after"]) in received(redis_url)

        assert eventually(arrives)
        wake_up.close()


def test_a_broker_that_is_half_open_delays_nobody(redis_url: str) -> None:
    with CuttingProxy(urlsplit(redis_url).port or 6379) as proxy:
        wake_up = WakeUp(behind(proxy, redis_url))
        wake_up.job("job_before")
        assert eventually(lambda: wake_up.num_sent == 1)
        proxy.hold()
        begin = time.monotonic()
        for number in range(1000):
            wake_up.job(f"job_{number}")
        assert time.monotonic() - begin < 0.5
        assert eventually(lambda: wake_up.num_dropped >= 1)
        assert proxy.fired >= 1
        begin = time.monotonic()
        wake_up.close()
        assert time.monotonic() - begin < 2


def test_what_does_not_fit_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "MAX_WAITING", 3)
    wake_up = WakeUp("redis://127.0.0.1:1/0")
    for number in range(20):
        wake_up.job(f"job_{number}")
    assert wake_up.num_dropped >= 10
    wake_up.close()


def test_the_password_of_the_broker_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    wake_up = WakeUp("redis://:canary-password@127.0.0.1:1/0")
    wake_up.job("job_a")
    assert eventually(lambda: wake_up.num_dropped == 1)
    wake_up.close()
    assert "the broker is away" in caplog.text
    assert "canary" not in caplog.text


def test_the_application_takes_json_alone_and_acknowledges_early() -> None:
    conf = make_celery("redis://localhost").conf
    assert list(conf.accept_content) == ["json"]
    assert conf.task_ignore_result
    assert not conf.task_acks_late
    assert conf.worker_prefetch_multiplier == 1


def test_what_keeps_the_broker_from_taking_messages_is_named(redis_url: str) -> None:
    """Celery calls each of these an OperationalError."""
    with OwnRedis.on_a_free_port() as server, redis.Redis(port=server.port) as own:
        app = make_celery(server.url)
        assert broker_trouble(app) is None
        own.config_set("maxmemory", 1)
        assert broker_trouble(app) == "OutOfMemoryError"
        own.config_set("maxmemory", 0)
        own.replicaof("127.0.0.1", 1)
        assert broker_trouble(app) == "ReadOnlyError"
        own.replicaof("NO", "ONE")
        own.config_set("requirepass", "secret")
        assert broker_trouble(app) == "AuthenticationError"
        server.kill()
        assert broker_trouble(app) == "ConnectionError"


def test_the_log_says_why_messages_are_not_sent(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with OwnRedis.on_a_free_port() as server, redis.Redis(port=server.port) as own:
        own.config_set("maxmemory", 1)
        wake_up = WakeUp(server.url)
        wake_up.job("job_a")
        assert eventually(lambda: wake_up.num_dropped == 1)
        wake_up.close()
    assert "the broker is away (OutOfMemoryError)" in caplog.text
