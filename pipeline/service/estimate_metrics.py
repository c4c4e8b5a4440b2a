"""What the service tells Prometheus of its estimates, product by product."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import Metric
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from pipeline.estimator import Curve, most_orders_placed
from pipeline.service.histogram import Histogram
from pipeline.service.service_metrics import ContinuedCollector

# Product code and orders placed.
AskedOrder = tuple[str, float]

# Each takes twenty lines of the page; fifty take 60 kB, and 10 ms without an estimate.
MAX_PRODUCTS = 50
OTHERS = ""
# Different orders that wait to be looked at, which takes 4 ms.
MAX_ASKED = 5_000

ORDERS = (25.0, 50.0, 100.0, 200.0, 400.0, 800.0)
HOURS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)


class Estimates:
    """Those of one product, or of all that have no label."""

    __slots__ = ("orders_placed", "hours", "beyond_observed")

    def __init__(self) -> None:
        self.orders_placed = Histogram(ORDERS)
        self.hours = Histogram(HOURS)
        self.beyond_observed = 0


class EstimateMetrics(ContinuedCollector):
    """Counts estimates by product: what was asked, what was answered, and whether the
    model had seen as many orders placed.

    The first MAX_PRODUCTS have a label of their own, all others share an empty one.
    """

    def __init__(self, curves: Mapping[str, Curve]) -> None:
        """Begin to count.

        Args:
            curves: Of the model in service, by product; those with many orders first.
        """
        self._curves = curves
        # Of the former model, whose last estimates may come after those of this one.
        self._former: EstimateMetrics | None = None
        self._asked: Counter[AskedOrder] = Counter()
        self._counted: dict[str, Estimates] = {}
        self._products: dict[str, tuple[Estimates, float]] = {}
        for code, curve in curves.items():
            label = code if len(self._counted) < MAX_PRODUCTS else OTHERS
            estimates = self._counted.setdefault(label, Estimates())
            self._products[code] = estimates, most_orders_placed(curve)

    def continue_from(self, former: Collector) -> None:
        """Count on where those of a former model are, some of which may still come.

        What a label has counted goes on, as far as the label does.
        """
        assert isinstance(former, EstimateMetrics)
        former._look_at_asked()
        former._former = None
        self._former = former
        for label in self._counted.keys() & former._counted.keys():
            self._counted[label] = former._counted[label]
        for code, (_, most) in self._products.items():
            label = code if code in self._counted else OTHERS
            self._products[code] = self._counted[label], most

    def count(self, product_code: str, orders_placed: float) -> None:
        """Count the estimate of an order.

        The orders of one day are much alike. So it is only noted how often each was
        asked for, in a sixth of the time that it takes to look at all of them.
        """
        self._asked[product_code, orders_placed] += 1
        if len(self._asked) > MAX_ASKED:
            self._look_at_asked()

    def count_all(self, orders: Iterable[AskedOrder]) -> None:
        """Count the estimates of some orders."""
        self._asked.update(orders)
        if len(self._asked) > MAX_ASKED:
            self._look_at_asked()

    def _look_at_asked(self) -> None:
        if self._former:
            self._former._look_at_asked()
        for (code, orders_placed), times in self._asked.items():
            estimates, most = self._products[code]
            estimates.orders_placed.count(orders_placed, times)
            estimates.hours.count(self._curves[code](orders_placed), times)
            if orders_placed > most:
                estimates.beyond_observed += times
        self._asked.clear()

    def collect(self) -> Iterator[Metric]:
        """Make the metrics of what was counted."""
        self._look_at_asked()
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
