"""The contract that both stages share: what an order is.

Nothing heavy is imported here, because the service imports it.
"""

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
