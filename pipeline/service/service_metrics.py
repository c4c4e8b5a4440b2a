"""What the service tells Prometheus: its requests, refusals, connections and model.

Requests are counted in plain integers, and made into metrics when Prometheus asks. No
label has values that clients could invent.
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from math import inf
from time import perf_counter
from typing import NamedTuple

from fastapi import FastAPI, Request, Response
from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector
from starlette.routing import BaseRoute

from pipeline import aws
from pipeline.connections import ARRIVED, refusal_log
from pipeline.service.counted_route import CountedRoute
from pipeline.service.json_route import JsonRoute

PATH = "/metrics"
# Instead of its path, for a request to none of ours, and for one that was not read.
UNKNOWN, UNREAD = "unknown", "unread"

# Why a request was refused, by status; of 422, what is wrong in it says more.
REASONS = {
    400: "malformed",
    404: "unknown_path",
    405: "unknown_method",
    408: "not_whole_in_time",
    413: "body_too_large",
    415: "not_declared_as_json",
    431: "head_too_large",
    503: "too_much_to_do",
}


class ContinuedCollector(Collector):
    """Counts on where that of a former application is."""

    @abstractmethod
    def continue_from(self, former: Collector) -> None:
        """Take what a former one has counted; it may still count a request or two."""


class ServiceMetrics(Collector):
    """Counts what every service of a model counts.

    Attributes:
        registry: The service's own; further collectors are registered here.
        connections: Those that are open.
        unrouted: How many requests were for no route, by the status of their answer.
        others: Collectors of this model alone.
    """

    def __init__(
        self, routes: Sequence[BaseRoute], model: aws.Model, newer_refused: int
    ) -> None:
        """Begin to count.

        Args:
            routes: The service's; those that count their answers are asked for them.
            model: The model in service.
            newer_refused: How many newer models were not taken.
        """
        self.routes = routes
        self.model = model
        self.newer_refused = newer_refused
        self.connections: Collection[object] = ()
        self.unrouted: Counter[int] = Counter()
        self.others: list[ContinuedCollector] = []
        self.registry = CollectorRegistry()
        self.registry.register(self)
        # Memory, CPU, open files and the time of its start, on Linux.
        ProcessCollector(registry=self.registry)

    def continue_from(self, former: "ServiceMetrics") -> None:
        """Count on where a former application is, which may still answer a request."""
        former_routes = {
            route.path: route
            for route in former.routes
            if isinstance(route, CountedRoute)
        }
        for route in self.routes:
            if isinstance(route, CountedRoute):
                route.continue_from(former_routes[route.path])
        self.unrouted, self.connections = former.unrouted, former.connections
        for ours, theirs in zip(self.others, former.others, strict=True):
            ours.continue_from(theirs)

    def collect(self) -> Iterator[Metric]:
        """Make the metrics of what was counted."""
        yield from self._collect_requests()
        yield from self._collect_model()
        yield GaugeMetricFamily(
            "http_connections", "Open connections.", len(self.connections)
        )

    def _collect_requests(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "http_requests",
            "Requests that were answered; route unread: refused before they were read.",
            labels=["route", "status"],
        )
        seconds = HistogramMetricFamily(
            "http_request_duration_seconds",
            "From when a request was there as a whole to when its answer was made.",
            labels=["route"],
        )
        refusals = CounterMetricFamily(
            "http_refusals",
            "Requests that were refused, by what was wrong with them.",
            labels=["reason"],
        )
        by_reason: Counter[str] = Counter()
        by_status = {UNKNOWN: self.unrouted, UNREAD: refusal_log.unread}
        for route in self.routes:
            if isinstance(route, CountedRoute):
                by_status[route.path] = route.statuses
                times = route.seconds
                seconds.add_metric([route.path], times.buckets(), times.sum)
            if isinstance(route, JsonRoute):
                by_reason += route.invalid
        for path, statuses in by_status.items():
            for status, count in sorted(statuses.items()):
                requests.add_metric([path, str(status)], count)
                if status in REASONS:
                    by_reason[REASONS[status]] += count
        for reason, count in sorted(by_reason.items()):
            refusals.add_metric([reason], count)
        yield from (requests, seconds, refusals)

    def _collect_model(self) -> Iterator[Metric]:
        model = self.model
        yield InfoMetricFamily(
            "model",
            "The model in service.",
            {
                "name": model.name,
                "commit": model.pipeline_git_commit_hash,
                "delivery": model.train_dataset_key,
            },
        )
        yield GaugeMetricFamily(
            "model_created_timestamp_seconds",
            "When the model in service was made.",
            datetime.fromisoformat(model.creation_time).timestamp(),
        )
        yield GaugeMetricFamily(
            "model_newer_refused",
            "Newer models that were not taken.",
            self.newer_refused,
        )


def add_metrics_page(app: FastAPI, registry: CollectorRegistry) -> None:
    """Answer Prometheus with all metrics of a registry, in the format it asks for."""
    page = Page("", b"", -inf)

    @app.get(PATH, include_in_schema=False)
    async def metrics(request: Request) -> Response:
        nonlocal page
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        # Those that waited when it was made get the same: each would take milliseconds.
        arrived = request.scope["state"].get(ARRIVED, inf)
        if page.media_type != media_type or page.made < arrived:
            made = perf_counter()
            page = Page(media_type, encode(registry), made)
        return Response(page.content, headers={"content-type": media_type})


class Page(NamedTuple):
    """The metrics at one moment.

    Attributes:
        made: When (perf_counter).
    """

    media_type: str
    content: bytes
    made: float
