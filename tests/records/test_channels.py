"""Word to people: to each channel, late for none, and no secret in the log."""

import pytest

from pipeline.records import channels
from pipeline.records.channels import ALERT_URLS, read_urls, send
from sandbox.ports import closed_port
from tests.records.webhook import Webhook


def set_urls(monkeypatch: pytest.MonkeyPatch, *urls: str) -> None:
    monkeypatch.setenv(ALERT_URLS, "\n".join(urls))


def test_without_a_channel_nothing_happens(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for value in ("", " \n"):
        monkeypatch.setenv(ALERT_URLS, value)
        send("title", "body")
    assert caplog.text == ""


def test_each_channel_is_told_once_whatever_is_wrong_with_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, webhook: Webhook
) -> None:
    caplog.set_level("INFO")
    with closed_port() as closed:
        set_urls(
            monkeypatch,
            "https://example.invalid/recognizable-token",
            f"json://127.0.0.1:{closed}/recognizable-token",
            webhook.url,
            "recognizable-token",
        )
        send("a title", "a body\nof two lines")
    (posted,) = webhook.posted
    assert (posted["title"], posted["message"]) == ("a title", "a body\nof two lines")
    log = caplog.text
    assert "Channel 1 of 4 in ALERT_URLS was not told: it is no address" in log
    assert "Channel 2 of 4 in ALERT_URLS was not told: JSON could not be reached" in log
    assert "Channel 4 of 4" in log and "Channel 3" not in log
    assert 'Told 1 of 4 channels: "a title".' in log
    assert "recognizable" not in log


@pytest.mark.parametrize("status", [403, 410, 500])
def test_a_channel_that_refuses_is_a_warning(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    webhook: Webhook,
    status: int,
) -> None:
    caplog.set_level("INFO")
    webhook.status = status
    set_urls(monkeypatch, webhook.url)
    send("title", "body")
    assert "JSON could not be reached, or refused" in caplog.text
    assert [each.levelname for each in caplog.records] == ["WARNING"]


def test_a_channel_that_drips_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, webhook: Webhook
) -> None:
    monkeypatch.setattr(channels, "TIMEOUT_SECONDS", 0.5)
    webhook.drips = True
    set_urls(monkeypatch, webhook.url)
    send("title", "body")
    assert "JSON did not answer within 0.5 seconds" in caplog.text


def test_a_comma_separates_addresses_and_may_stand_in_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(ALERT_URLS, "mailto://u:p@h?to=a@x,b@y, json://h,jsons://i\n")
    assert read_urls(ALERT_URLS) == [
        "mailto://u:p@h?to=a@x,b@y",
        "json://h",
        "jsons://i",
    ]
