"""Word to people, through Apprise: Slack, Teams, e-mail, PagerDuty, a webhook, others.

Each address is a secret, so the log repeats none.
"""

import logging
import re
import warnings
from os import environ
from threading import Thread
from time import monotonic

ALERT_URLS = "ALERT_URLS"
REPORT_URLS = "REPORT_URLS"
# Whoever runs is not held up longer, by however many channels.
TIMEOUT_SECONDS = 15

log = logging.getLogger("pipeline")


class Channel(Thread):
    """Somewhere that one message is sent to, without holding up anything else.

    Attributes:
        fault: Why nobody was told; "" if somebody was.
    """

    def __init__(self, url: str, title: str, body: str) -> None:
        # One that drips its answer does not hold up the end of the process.
        super().__init__(daemon=True)
        self.url, self.title, self.body = url, title, body
        self.fault = f"did not answer within {TIMEOUT_SECONDS} seconds"

    def run(self) -> None:
        try:
            self.fault = self._tell()
        except Exception as error:
            self.fault = type(error).__name__

    def _tell(self) -> str:
        from apprise import Apprise, AppriseAsset, NotifyFormat

        # In this thread, which may be left behind, and in none of its own.
        channel = Apprise(asset=AppriseAsset(async_mode=False))
        if not channel.add(self.url):
            return "it is no address that Apprise knows, such as json://HOST/PATH"
        self.fault = f"{channel[0].service_name} {self.fault}"
        told = channel.notify(self.body, self.title, body_format=NotifyFormat.TEXT)
        fault = f"{channel[0].service_name} could not be reached, or refused"
        return "" if told else fault


def send(title: str, body: str, variable: str = ALERT_URLS) -> None:
    """Send a message to each channel of a variable; a failure to do so is a WARNING.

    Args:
        variable: Holds Apprise's addresses, separated by spaces, commas or line ends.
    """
    channels = [Channel(url, title, body) for url in read_urls(variable)]
    if not channels:
        return
    load_services()
    deadline = monotonic() + TIMEOUT_SECONDS
    for channel in channels:
        channel.start()
    for number, channel in enumerate(channels, 1):
        channel.join(max(0.0, deadline - monotonic()))
        if channel.fault:
            log.warning(
                f"Channel {number} of {len(channels)} in {variable} was not told: "
                f"{channel.fault}; check its address, and that it is up."
            )
    told = sum(not channel.fault for channel in channels)
    if told:
        log.info(f'Told {told} of {len(channels)} channels: "{title}".')


def read_urls(variable: str) -> list[str]:
    """Read the addresses of a variable."""
    # A comma may stand in an address, as between the recipients of an e-mail.
    separator = r"\s+|,\s*(?=[a-z0-9]+://)"
    return [url for url in re.split(separator, environ.get(variable, "")) if url]


def load_services() -> None:
    """Import what Apprise knows, which takes a second."""
    # They would log whole addresses.
    logging.getLogger("apprise").disabled = True
    logging.getLogger("urllib3").setLevel(logging.INFO)
    with warnings.catch_warnings():
        # Of its own modules.
        warnings.simplefilter("ignore")
        from apprise import Apprise

        Apprise().add("json://localhost")
