"""What is measured under an attack is measured while it goes on."""

import pytest

from benchmarks.attacks import Attack, under_attack
from sandbox.ports import HOST, free_port


@pytest.mark.once
@pytest.mark.process
def test_an_attack_that_ends_by_itself_is_told() -> None:
    nobody = Attack(connections=0, first=b"")
    with pytest.raises(RuntimeError, match="The attack ended by itself, with 0"):
        with under_attack((HOST, free_port()), nobody):
            pytest.fail("Nobody attacks.")
