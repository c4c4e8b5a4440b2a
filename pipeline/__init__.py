"""Estimate the time from an order to its dispatch: train each week, serve the newest.

What this pipeline's models are made of is handed to storage here, before any is read.
"""

from pipeline.aws import declare
from pipeline.estimator import CONTENTS

declare(*CONTENTS)
