"""Where a row of features has what: the columns of the matrix that is learnt from."""

from pipeline.orders import FEATURES, ORDERS_PLACED, PRODUCT_CODE

ORDERS_FEATURE = FEATURES.index(ORDERS_PLACED)
PRODUCT_FEATURE = FEATURES.index(PRODUCT_CODE)
