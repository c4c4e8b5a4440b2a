"""Following: the model of what is current in a Redis, and of each publication after."""

import logging
from collections.abc import Callable

from pipeline import aws
from pipeline.publication.connection import (
    RedisFailure,
    connect,
    explain_redis_errors,
    show_address,
)
from pipeline.publication.reader import read_current_name, read_publication

log = logging.getLogger("pipeline")


class Follower:
    """Reads what is current in a Redis, and notices when that is another publication.

    What cannot be used is refused once, and what was read before stays.

    Attributes:
        model: What was read last and can be used.
        passed_over: Why newer models were not published, then.
        name: Of the publication that was looked at last.
        is_lost: Whether Redis could not be asked last time.
    """

    model: aws.Model
    passed_over: tuple[str, ...]

    def __init__(self, address: str, check: Callable[[aws.Model], object]) -> None:
        """Follow a Redis.

        Args:
            check: Raises for a model that is of no use; a RuntimeError in a sentence.

        Raises:
            ValueError: It is no address of a Redis.
        """
        self.address = address
        self.check = check
        self.redis = connect(address)
        self.is_lost = False

    def read_first(self) -> tuple[aws.Model, list[str]]:
        """Read what is current.

        Returns:
            The model, and why newer ones were passed over.

        Raises:
            RedisFailure: Redis could not be asked, or holds no publication.
            RuntimeError: The model cannot be used.
            ValueError: The signing key is too short, or empty.
        """
        aws.signing_keys()
        with explain_redis_errors(self.address):
            self.name = self.read_name()
            found = read_publication(self.redis, self.name, self.check)
        if found.model is None:
            raise RuntimeError(self.tell(found.refusal))
        self.model, self.passed_over = found.model, found.passed_over
        return self.model, [*self.passed_over]

    def read_newer(self) -> tuple[aws.Model, list[str]] | None:
        """Read what is current, if that is not what was looked at last.

        Returns:
            The model that is to be taken from now on, which is the former one if the
            new publication cannot be used, and why newer ones were passed over; None
            if nothing has changed.

        Raises:
            ValueError: The signing key is too short, or empty.
        """
        try:
            with explain_redis_errors(self.address):
                name = self.read_name()
                if name != self.name:
                    found = read_publication(self.redis, name, self.check)
        except RedisFailure as failure:
            if not self.is_lost:
                log.warning(f"{failure} Model {self.model} goes on serving.")
            self.is_lost = True
            return None
        if self.is_lost:
            log.info(f"Redis {show_address(self.address)} is followed again.")
        self.is_lost = False
        if name == self.name:
            return None
        self.name = name
        if found.model is None:
            refusal = self.tell(found.refusal)
            log.warning(f"Refused: {refusal}")
            return self.model, [*self.passed_over, refusal]
        self.model, self.passed_over = found.model, found.passed_over
        log.info(f"Loaded model {self.model}")
        return self.model, [*self.passed_over]

    def read_name(self) -> str:
        """Read which publication is current.

        Raises:
            RedisFailure: None is.
            redis.RedisError: Redis failed.
        """
        name = read_current_name(self.redis)
        if not name:
            raise RedisFailure(
                f"Redis {show_address(self.address)} holds no estimates, or holds them "
                "no longer; publish them: python -m pipeline.batch S3_BUCKET publish."
            )
        return name

    def tell(self, refusal: str) -> str:
        return f"What Redis {show_address(self.address)} holds is not taken: {refusal}"
