"""What learning on gains, and what the ranges are worth: week by week, against others.

Usage: python -m benchmarks.learning [--weeks 26] [--seeds 3] [--first-seed 50000]
       [--rows 1000 300 5000] [--worlds steady slower ...] [--pictures FOLDER]

In each world, a delivery a week is learnt from: with what is known of earlier weeks
(ours), by the week's tree alone, by its projection (which is a fresh start), by a tree
searched on the orders of all weeks so far, and by a straight line for each product.
Measured is how far each is from the truth, root mean square over the orders that may
come (hours), their mean absolute error on fresh orders, and how many of these fall
into the range that is stated. The whole grid of the training stage is searched, on all
weeks' orders in some weeks alone. The trace of a bad week is how much farther from the
truth we are than without it. Worlds other than the steady one have 1,000 orders a week,
or the first of --rows. What learning on costs, and 52 weeks through the stages as
processes: python -m benchmarks.learning_stage.
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame, concat
from scipy.stats import norm
from sklearn.linear_model import LinearRegression

from pipeline.estimator import (
    LEVELS,
    FeatureAndLabels,
    Knowledge,
    Ranges,
    calibrate,
    learn_on,
    prepare_data,
    preprocess,
    split_into_folds,
)
from pipeline.orders import HOURS_TO_DISPATCH, ORDERS_PLACED, PRODUCT_CODE
from pipeline.search import DecisionTreeSearchCV
from pipeline.train_model import HYPERPARAM_GRID, train_model
from sandbox.orders import HOURS_PER_ORDER, NOISE_HOURS, ORDERS_PLACED_SCALE

Floats = NDArray[np.float64]
Codes = NDArray[np.str_]
Estimate = Callable[[DataFrame], Floats]

CHANGE_WEEK = 11
POOLED_WEEKS = (1, 2, 4, 8, 13, 20, 26)
FRESH_ORDERS = 20_000
PLACES = np.arange(0.0, 501.0)
OURS, PROJECTION, TREE = "ours", "the week's projection", "the week's tree"
POOLED, LINES = "all weeks in one search", "a line per product"


def draw_normal(
    random: np.random.Generator, expected: Floats, code: Codes
) -> Floats:
    return random.normal(0, NOISE_HOURS, len(expected))


def draw_skewed(
    random: np.random.Generator, expected: Floats, code: Codes
) -> Floats:
    """As large as normal noise, and centred; a few orders take much longer."""
    noise: Floats = random.gamma(1.0, NOISE_HOURS, len(expected)) - NOISE_HOURS
    return noise


def draw_growing(
    random: np.random.Generator, expected: Floats, code: Codes
) -> Floats:
    noise: Floats = random.normal(0, 1, len(expected)) * (0.3 + 0.08 * expected)
    return noise


def draw_by_product(
    random: np.random.Generator, expected: Floats, code: Codes
) -> Floats:
    """From half as large to twice as large, product by product."""
    large = dict(zip(HOURS_PER_ORDER, (0.5, 0.7, 1.0, 1.4, 2.0), strict=True))
    factor = np.array([large[each] for each in code])
    return factor * draw_normal(random, expected, code)


class World(NamedTuple):
    """What may happen to the orders.

    Attributes:
        slowdown: Of a product in a week, as a factor on its hours.
        spoil: What is wrong with the delivery of a week, as a factor on its hours.
    """

    explanation: str
    slowdown: Callable[[str, int], float] = lambda code, week: 1.0
    noise: Callable[[np.random.Generator, Floats, Codes], Floats] = draw_normal
    spoil: Callable[[int], float] = lambda week: 1.0

    def slopes(self, week: int) -> dict[str, float]:
        return {
            code: slope * self.slowdown(code, week)
            for code, slope in HOURS_PER_ORDER.items()
        }


def after_change(factor: float, product: str = "") -> Callable[[str, int], float]:
    def slowdown(code: str, week: int) -> float:
        changed = week >= CHANGE_WEEK and code.startswith(product)
        return factor if changed else 1.0

    return slowdown


WORLDS = {
    "steady": World("nothing changes"),
    "slower": World(f"25 % slower from week {CHANGE_WEEK} on", after_change(1.25)),
    "faster": World(f"20 % faster from week {CHANGE_WEEK} on", after_change(0.8)),
    "drift": World("2 % slower each week", lambda code, week: 1.02**week),
    "one product": World(
        f"one product 25 % slower from week {CHANGE_WEEK} on",
        after_change(1.25, "SKU004"),
    ),
    "a bad week": World(
        f"the hours of week {CHANGE_WEEK} are 30 % too long",
        spoil=lambda week: 1.3 if week == CHANGE_WEEK else 1.0,
    ),
    "skewed": World("noise is skewed", noise=draw_skewed),
    "growing": World("noise grows with the load", noise=draw_growing),
    "by product": World("noise of each product is its own", noise=draw_by_product),
    "skewed, slower": World(
        "noise is skewed, and a change", after_change(1.25), draw_skewed
    ),
    "growing, slower": World(
        "noise grows with the load, and a change", after_change(1.25), draw_growing
    ),
}


def make_orders(world: World, week: int, rows: int, seed: int) -> DataFrame:
    """The orders of a week, as the sandbox makes them."""
    random = np.random.default_rng([seed, week])
    slopes = world.slopes(week)
    code = random.choice([*slopes], rows)
    placed = np.abs(random.normal(0, ORDERS_PLACED_SCALE, rows)).round()
    expected = np.array([slopes[each] for each in code]) * placed
    hours = np.maximum(0, expected + world.noise(random, expected, code))
    return DataFrame(
        {HOURS_TO_DISPATCH: hours, ORDERS_PLACED: placed, PRODUCT_CODE: code}
    )


class Truth(NamedTuple):
    """What the orders of a week are like.

    Attributes:
        places: Each product at each number of orders placed.
        hours: The mean hours to dispatch there.
        weights: How often that comes.
        fresh: Orders that nothing was learnt from.
    """

    places: DataFrame
    hours: Floats
    weights: Floats
    fresh: DataFrame

    @classmethod
    def of(cls, world: World, week: int, seed: int) -> "Truth":
        slopes = world.slopes(week)
        code = np.repeat([*slopes], len(PLACES))
        placed = np.tile(PLACES, len(slopes))
        expected = np.repeat([*slopes.values()], len(PLACES)) * placed
        # Hours are cut off at 0.
        drawn = np.repeat(expected, 200)
        random = np.random.default_rng(0)
        noise = world.noise(random, drawn, np.repeat(code, 200))
        hours = np.maximum(0, drawn + noise).reshape(-1, 200)
        mean = hours.mean(axis=1)
        if world.noise is draw_normal:
            mean = expected * norm.cdf(expected) + norm.pdf(expected)
        edges = (placed - 0.5, placed + 0.5)
        low, high = (norm.cdf(edge, scale=ORDERS_PLACED_SCALE) for edge in edges)
        places = DataFrame({ORDERS_PLACED: placed, PRODUCT_CODE: code})
        # The half of the distribution that is folded up.
        weights = np.where(placed == 0, 1.0, 2.0) * (high - low)
        fresh = make_orders(world, week, FRESH_ORDERS, seed + 1_000_000)
        return cls(places, mean, weights, fresh)

    def measure(self, estimate: Estimate) -> tuple[float, float]:
        """Distance to the truth and mean absolute error, hours."""
        far = estimate(self.places) - self.hours
        distance = np.sqrt(np.average(far**2, weights=self.weights))
        errors = np.abs(estimate(self.fresh) - self.fresh[HOURS_TO_DISPATCH])
        return float(distance), float(errors.mean())


class Outcome(NamedTuple):
    """What came of one week.

    Attributes:
        scores: By contestant, its distance to the truth and mean absolute error, hours.
        coverage: By level, the share of fresh orders within the range, of all products
            and then of each.
    """

    scores: dict[str, tuple[float, float]]
    coverage: dict[float, list[float]]


def estimate_with(model: Any, numbers: dict[str, int]) -> Estimate:
    """What a fitted estimator says of orders."""
    return lambda orders: np.asarray(model.predict(preprocess(orders, numbers)))


def fit_lines(data: FeatureAndLabels) -> Estimate:
    """A straight line for each product."""
    lines = {
        str(code): LinearRegression().fit(
            rows[[ORDERS_PLACED]].to_numpy(), data.y_train[rows.index]
        )
        for code, rows in data.X_train.groupby(PRODUCT_CODE)
    }

    def estimate(orders: DataFrame) -> Floats:
        hours = np.empty(len(orders))
        for code, rows in orders.groupby(PRODUCT_CODE).indices.items():
            column = orders[[ORDERS_PLACED]].to_numpy()[rows]
            hours[rows] = lines[str(code)].predict(column)
        return np.maximum(0, hours)

    return estimate


def search_pooled(weeks: list[DataFrame]) -> Estimate:
    """The best tree of the grid for the training rows of all weeks together."""
    data = prepare_data(concat(weeks, ignore_index=True))
    search = DecisionTreeSearchCV(HYPERPARAM_GRID, cv=list(split_into_folds(data)))
    search.fit(preprocess(data.X_train), data.y_train)
    codes = sorted(data.X_train[PRODUCT_CODE].unique())
    numbers = {code: number for number, code in enumerate(codes)}
    return estimate_with(search.best_estimator_, numbers)


def measure_coverage(
    ranges: Ranges, estimate: Estimate, fresh: DataFrame
) -> dict[float, list[float]]:
    """The share of orders that fall within their range."""
    estimates, hours = estimate(fresh), fresh[HOURS_TO_DISPATCH].to_numpy()
    codes = fresh[PRODUCT_CODE].to_numpy()
    found = {}
    for level in LEVELS:
        within = np.full(len(fresh), np.nan)
        for row, (code, hour) in enumerate(zip(codes, estimates, strict=True)):
            around = ranges.around(code, hour, level)
            if around is not None:
                within[row] = around[0] <= hours[row] <= around[1]
        by_product = DataFrame({"code": codes, "within": within}).groupby("code")
        shares = by_product["within"].mean().tolist()
        found[level] = [float(np.mean(within)), *shares]
    return found


def run(
    world: World, rows: int, weeks: int, seed: int, others: bool
) -> list[Outcome]:
    """Learn from each week in a row.

    Args:
        others: Also those that we are compared with beyond the week's own.
    """
    known: Knowledge | None = None
    ranges: Ranges | None = None
    deliveries: list[DataFrame] = []
    outcomes = []
    for week in range(1, weeks + 1):
        orders = make_orders(world, week, rows, seed)
        orders[HOURS_TO_DISPATCH] *= world.spoil(week)
        deliveries.append(orders)
        data = prepare_data(orders)
        projection, _ = train_model(data, HYPERPARAM_GRID)
        is_new = np.ones(len(data.X_train), dtype=bool)
        learnt = learn_on(projection, data, is_new, known)
        limits = ranges.limits if ranges else {}
        ranges, known = calibrate(learnt, data, orders, limits)

        numbers = projection.product_numbers_
        models = {
            OURS: learnt.model,
            PROJECTION: projection,
            TREE: projection.estimator_,
        }
        contestants = {
            name: estimate_with(model, numbers) for name, model in models.items()
        }
        if others:
            contestants[LINES] = fit_lines(data)
            if week in POOLED_WEEKS:
                contestants[POOLED] = search_pooled(deliveries)
        truth = Truth.of(world, week, seed)
        outcomes.append(
            Outcome(
                {name: truth.measure(each) for name, each in contestants.items()},
                measure_coverage(ranges, contestants[OURS], truth.fresh),
            )
        )
    return outcomes


def average(runs: list[list[Outcome]], contestant: str, number: int) -> Floats:
    """Over the seeds, by week; NaN where it did not take part.

    Args:
        number: 0 for the distance to the truth, 1 for the mean absolute error.
    """
    nothing = (np.nan, np.nan)
    values = np.array(
        [
            [week.scores.get(contestant, nothing)[number] for week in run]
            for run in runs
        ]
    )
    means: Floats = values.mean(axis=0)
    return means


def print_scores(runs: list[list[Outcome]]) -> None:
    names = [name for name in (OURS, PROJECTION, TREE, POOLED, LINES)]
    present = [name for name in names if name in runs[0][0].scores]
    print(f"\n| week | {' | '.join(present)} |\n|---|{'---|' * len(present)}")
    for week in range(len(runs[0])):
        cells = []
        for name in present:
            distance, error = (average(runs, name, number)[week] for number in (0, 1))
            cells.append("" if np.isnan(distance) else f"{distance:.2f}, {error:.3f}")
        print(f"| {week + 1} | {' | '.join(cells)} |")


def print_gain(runs: list[list[Outcome]]) -> None:
    """How much nearer to the truth we are than a fresh start is."""
    far = average(runs, OURS, 0) - average(runs, PROJECTION, 0)
    each = [
        [week.scores[OURS][0] - week.scores[PROJECTION][0] for week in run]
        for run in runs
    ]
    print(
        "\nHours farther from the truth than a fresh start: "
        f"{far[1:].max():+.2f} in the worst week, "
        f"{np.max(np.array(each)[:, 1:]):+.2f} in the worst week of one seed."
    )


def print_trace(runs: list[list[Outcome]], good: list[list[Outcome]]) -> None:
    """How much farther from the truth a bad week has left us, by week after it."""
    trace = (average(runs, OURS, 0) - average(good, OURS, 0))[CHANGE_WEEK - 1 :]
    told = ", ".join(f"{far:+.2f}" for far in trace)
    print(f"\nTrace of the bad week, hours, in it and in each week after: {told}")


def print_coverage(runs: list[list[Outcome]]) -> None:
    """How many fresh orders fall into their range, in points off what is stated."""
    columns = ["stated", "mean", "week 1", f"week {CHANGE_WEEK}", "off in a week (rms)"]
    columns += ["weeks within 1.5", "farthest product", "off in a week (rms)"]
    columns += ["product weeks within 3"]
    print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for level in LEVELS:
        shares = np.array([[week.coverage[level] for week in run] for run in runs])
        off = 100 * (shares - level)
        overall, products = off[:, :, 0], off[:, :, 1:]
        by_week, by_product = overall.mean(axis=0), products.mean(axis=(0, 1))
        changed = by_week[CHANGE_WEEK - 1 : CHANGE_WEEK]
        cells = [f"{level:.0%}", f"{overall.mean():+.1f}", f"{by_week[0]:+.1f}"]
        cells += ["".join(f"{each:+.1f}" for each in changed)]
        cells += [f"{np.sqrt(np.mean(overall**2)):.1f}"]
        cells += [f"{np.mean(np.abs(overall) <= 1.5):.0%}"]
        cells += [f"{max(by_product, key=abs):+.1f}"]
        cells += [f"{np.sqrt(np.mean(products**2)):.1f}"]
        cells += [f"{np.mean(np.abs(products) <= 3):.0%}"]
        print(f"| {' | '.join(cells)} |", flush=True)


def draw(runs: list[list[Outcome]], title: str, path: Path) -> None:
    """Draw the distances to the truth by week."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7, 3.2), layout="constrained")
    weeks = np.arange(1, len(runs[0]) + 1)
    colours = {OURS: "#1b7837", PROJECTION: "#d95f02", TREE: "#bbbbbb"}
    for name, colour in {**colours, POOLED: "#3b528b", LINES: "#999999"}.items():
        distances = average(runs, name, 0)
        taken = np.isfinite(distances)
        style = ":" if name == LINES else "-"
        if taken.any():
            axis.plot(weeks[taken], distances[taken], style, color=colour, label=name)
    axis.set(xlabel="Week", ylabel="Hours from the truth", title=title, ylim=(0, None))
    axis.legend(frameon=False, fontsize="small")
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def main() -> None:
    parser = ArgumentParser(
        prog="python -m benchmarks.learning",
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--weeks", type=int, default=26)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=50_000)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 300, 5000])
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=[*WORLDS])
    parser.add_argument("--pictures", type=Path)
    chosen = parser.parse_args()
    seeds = range(chosen.first_seed, chosen.first_seed + chosen.seeds)
    for name in chosen.worlds:
        world = WORLDS[name]
        for rows in chosen.rows if name == "steady" else chosen.rows[:1]:
            runs = [
                run(world, rows, chosen.weeks, seed, others=name == "steady")
                for seed in seeds
            ]
            title = f"{world.explanation.capitalize()}, {rows:,} orders a week"
            print(f"\n## {title}\n\nHours from the truth, mean absolute error (hours):")
            print_scores(runs)
            print_gain(runs)
            print_coverage(runs)
            if name == "a bad week":
                good = [
                    run(WORLDS["steady"], rows, chosen.weeks, seed, others=False)
                    for seed in seeds
                ]
                print_trace(runs, good)
            if chosen.pictures:
                picture = f"learning-{name.replace(', ', '-').replace(' ', '-')}-{rows}"
                draw(runs, title, chosen.pictures / f"{picture}.svg")


if __name__ == "__main__":
    main()
