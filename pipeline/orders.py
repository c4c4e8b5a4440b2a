"""The contract that both stages share: what an order is, and in which order a model
takes its features.

Nothing heavy is imported here, because the service imports it.
"""

from typing import Literal, get_args

ProductCode = Literal["SKU001", "SKU002", "SKU003", "SKU004", "SKU005"]
PRODUCT_CODE_MAP: dict[ProductCode, int] = {
    code: index for index, code in enumerate(get_args(ProductCode))
}

ORDERS_PLACED = "orders_placed"
PRODUCT_CODE = "product_code"
HOURS_TO_DISPATCH = "hours_to_dispatch"

FEATURES = [ORDERS_PLACED, PRODUCT_CODE]
LABEL = HOURS_TO_DISPATCH

# More orders in one day than the warehouse could ever take: a unit or column mix-up.
MAX_ORDERS_PLACED = 1_000_000.0

DATASETS_FOLDER = "datasets"
MODELS_FOLDER = "models"
