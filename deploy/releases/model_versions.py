"""What the version of a model says, which every estimate carries."""

from datetime import datetime
from typing import NamedTuple


class ModelVersion(NamedTuple):
    """The parts of a model's version that a release is checked by.

    Attributes:
        made: When it was made.
        commit: The short hash of the commit that made it.
    """

    made: datetime
    commit: str


def read_version(version: str) -> ModelVersion:
    """Read a version: NAME:VALUE, as often as there is a part, with a | between.

    Raises:
        RuntimeError: It is none.
    """
    try:
        # The name of a delivery may hold a | itself.
        parts = dict(part.partition(":")[::2] for part in version.split("|"))
        made = datetime.fromisoformat(parts["model_timestamp"])
        return ModelVersion(made, parts["pipeline_git_commit_hash"])
    except (ValueError, KeyError) as error:
        raise RuntimeError(
            f"The service answers with the model version {version!r}, which does not "
            "say when and by which commit it was made."
        ) from error
