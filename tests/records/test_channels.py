"""Word to people: to each channel, late for none, and no secret in the log."""

import pytest

from pipeline.records import channels
from pipeline.records.channels import ALERT_URLS, keep_secret, read_urls, send
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
    assert "Channel 2 of 4 in ALERT_URLS was not told: A Connection error" in log
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
    assert f"error={status}" in caplog.text and "Told" not in caplog.text
    # Pytest listens to loggers that pass nothing on, too.
    told = [each.levelname for each in caplog.records if each.name == "pipeline"]
    assert told == ["WARNING"]


def test_a_channel_that_drips_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, webhook: Webhook
) -> None:
    monkeypatch.setattr(channels, "TIMEOUT_SECONDS", 0.5)
    webhook.drips = True
    set_urls(monkeypatch, webhook.url)
    send("title", "body")
    assert "it did not answer within 0.5 seconds" in caplog.text


def test_a_comma_separates_addresses_and_may_stand_in_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(ALERT_URLS, "mailto://u:p@h?to=a@x,b@y, json://h,jsons://i\n")
    assert read_urls(ALERT_URLS) == [
        "mailto://u:p@h?to=a@x,b@y",
        "json://h",
        "jsons://i",
    ]


def test_what_repeats_a_part_of_an_address_is_not_told() -> None:
    url = "slack://botname@TokenA123/TokenB456"
    assert keep_secret("Slack refused TokenB456.", url) == ""
    assert keep_secret("Slack refused it, error=404.", url).endswith("error=404")
    assert "127.0.0.1" in keep_secret("No way to 127.0.0.1.", "json://127.0.0.1/secret")
