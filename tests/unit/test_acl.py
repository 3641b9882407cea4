"""docs/acl.md and the rights that a worker looks for: read out of the code, so that neither falls behind."""

from __future__ import annotations

import re

import pytest

from aiotq.store import scripts
from aiotq.store.redis import RedisStore
from tools import acl

OTHERS = [script.name for script in scripts.OTHERS if script is not scripts.VET]


def test_the_page_lists_what_the_code_needs():
    assert acl.main(["--check"]) == 0


def test_a_page_that_falls_behind_is_noticed_and_mended():
    page = acl.PAGE.read_text("utf-8")
    behind = page.replace(" +hincrby", "")

    assert behind != page
    assert acl.page(behind) == page


def test_a_page_without_a_users_line_is_an_error():
    with pytest.raises(ValueError, match="aiotq_worker"):
        acl.page("nothing")


def test_what_a_worker_looks_for_is_what_its_scripts_call():
    assert acl.commands_of_script("vet") == frozenset().union(*map(acl.commands_of_script, OTHERS))


def test_a_scripts_commands_are_its_own_and_those_of_what_it_uses():
    assert acl.commands_of_script("token") == {"SREM", "LLEN", "RENAME", "PEXPIRE", "ZADD", "RPUSH"}
    assert {"LPOP", "SMISMEMBER", "HGETALL", "LPUSH", "RPUSH", "PUBLISH"} <= acl.commands_of_script("exchange")
    assert "LPOP" not in acl.commands_of_script("enqueue")


def test_comments_and_other_words_in_capitals_are_no_commands():
    assert acl.called("call('GET', key) -- not 'KEYS'\ncall('ZRANGE', key, 0, 0, 'WITHSCORES')") == {"GET", "ZRANGE"}


def test_the_methods_that_users_need_exist():
    for uses in acl.USES.values():
        assert all(hasattr(RedisStore, method) for method in uses or ())


def test_what_the_store_sends_besides_scripts_is_found():
    assert {"BLPOP", "EVALSHA", "SCRIPT LOAD", "SUBSCRIBE", "UNSUBSCRIBE", "PING", "INFO"} <= acl.commands("worker")
    assert acl.commands_of_method("read") == {"GET", "GETRANGE"}


def test_what_durable_jobs_need_besides_is_found():
    assert acl.durable() == "+config|get +info +wait +waitaof"


@pytest.mark.parametrize("user", acl.USES)
def test_no_user_may_run_what_is_not_of_his_namespace(user: str):
    rules = acl.rules(user, namespace="shop", password="pw")

    assert re.match(r"on >pw resetkeys ~\{shop\}:\* resetchannels ", rules)
    assert " -@all " in rules
    for right in ("eval", "keys", "scan", "config|get", "slowlog|get", "flushall", "client|setinfo", "@"):
        assert f"+{right} " not in f"{rules} "
