"""The contract that both stages share: what an order is.

Nothing heavy is imported here, because the service imports it.
"""

from typing import TypeGuard
from unicodedata import category, normalize

ORDERS_PLACED = "orders_placed"
PRODUCT_CODE = "product_code"
HOURS_TO_DISPATCH = "hours_to_dispatch"

# What is learnt is a curve per product: hours by orders placed. Another feature would
# need another form of model and of estimate; training fails at its start if one is
# added here alone.
FEATURES = [ORDERS_PLACED, PRODUCT_CODE]
LABEL = HOURS_TO_DISPATCH

# More orders in one day than the warehouse could ever take: a unit or column mix-up.
MAX_ORDERS_PLACED = 1_000_000.0
# Six weeks, longer than any spare part has ever waited: a unit mix-up, or mistyped.
MAX_HOURS_TO_DISPATCH = 1_000.0

DATASETS_FOLDER = "datasets"
MODELS_FOLDER = "models"
RUNS_FOLDER = "runs"
REPORTS_FOLDER = "reports"
REQUESTS_FOLDER = "requests"
ESTIMATES_FOLDER = "estimates"

# Kept with a model that was put back: the key of what it is a copy of.
ROLLED_BACK_FROM = "rolled-back-from"

# Which product codes there are, the deliveries tell, and the models made of them.
MAX_CODE_LENGTH = 64

# In lower case: letters of other scripts that look like Latin ones (Unicode TR39), and
# those that look like digits.
LOOK_ALIKES = str.maketrans(
    "авеікмнорстухѕјαβεικμνορτυχoil|",
    "abe1kmh0pctyxsjabe1kmn0ptyx0111",
)
INVISIBLE = {"Cc", "Cf", "Zl", "Zp", "Zs"}


def is_product_code(code: object) -> TypeGuard[str]:
    """Whether it can be one: a short text that can stand in logs and answers."""
    if not isinstance(code, str):
        return False
    return 0 < len(code) <= MAX_CODE_LENGTH and code.isprintable()


def normal_form(code: str) -> str:
    """What is left of a code without case, spaces and the likeness of letters."""
    compatible = normalize("NFKC", code).casefold()
    visible = (each for each in compatible if category(each) not in INVISIBLE)
    return "".join(visible).translate(LOOK_ALIKES)
