"""What the service tells Prometheus of its estimates, product by product."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping

from prometheus_client import Metric
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from pipeline.service.histogram import Histogram

# Each takes twenty lines of the page; fifty take 60 kB, and 10 ms without an estimate.
MAX_PRODUCTS = 50
OTHERS = ""

ORDERS = (25.0, 50.0, 100.0, 200.0, 400.0, 800.0)
HOURS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)


class Estimates:
    """Those of one product, or of all that have no label."""

    __slots__ = ("orders_placed", "hours", "beyond_observed")

    def __init__(self) -> None:
        self.orders_placed = Histogram(ORDERS)
        self.hours = Histogram(HOURS)
        self.beyond_observed = 0


class EstimateMetrics(Collector):
    """Counts estimates by product: what was asked, what was answered, and whether the
    model had seen as many orders placed.

    The first MAX_PRODUCTS have a label of their own, all others share an empty one.
    """

    def __init__(self, most_observed: Mapping[str, float]) -> None:
        """Begin to count.

        Args:
            most_observed: The most orders placed that the model was trained on, by
                product; those with many orders first.
        """
        self._counted: dict[str, Estimates] = {}
        self._products: dict[str, tuple[Estimates, float]] = {}
        for code, most in most_observed.items():
            label = code if len(self._counted) < MAX_PRODUCTS else OTHERS
            estimates = self._counted.setdefault(label, Estimates())
            self._products[code] = estimates, most

    def count(self, product_code: str, orders_placed: float, hours: float) -> None:
        estimates, most = self._products[product_code]
        counted = estimates.orders_placed
        counted.counts[bisect_left(ORDERS, orders_placed)] += 1
        counted.sum += orders_placed
        counted = estimates.hours
        counted.counts[bisect_left(HOURS, hours)] += 1
        counted.sum += hours
        if orders_placed > most:
            estimates.beyond_observed += 1

    def collect(self) -> Iterator[Metric]:
        """Make the metrics of what was counted."""
        orders_placed = HistogramMetricFamily(
            "estimate_orders_placed",
            "Orders placed that estimates were asked for.",
            labels=["product"],
        )
        hours = HistogramMetricFamily(
            "estimate_hours", "Hours that were estimated.", labels=["product"]
        )
        beyond_observed = CounterMetricFamily(
            "estimates_beyond_observed",
            "Estimates for more orders placed than the model was trained on.",
            labels=["product"],
        )
        for label, counted in self._counted.items():
            for family, histogram in (
                (orders_placed, counted.orders_placed),
                (hours, counted.hours),
            ):
                family.add_metric([label], histogram.buckets(), histogram.sum)
            beyond_observed.add_metric([label], counted.beyond_observed)
        yield from (orders_placed, hours, beyond_observed)
