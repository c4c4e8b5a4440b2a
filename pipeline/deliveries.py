"""Deliveries before they are delivered: what the training stage would say of them.

check prints of each file one line: what is in it, or the sentence with which the stage
would refuse it. The exit code is 0 if all are good, and 1 otherwise. newest prints when
the newest delivery in a bucket is dated, and its key.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence

from pandas import DataFrame

from pipeline import aws
from pipeline.estimator import Champion, read_champion
from pipeline.gates import examine_delivery, is_named_as_delivery, read_delivery
from pipeline.logs import Parser, printable, tell_count
from pipeline.orders import (
    DATASETS_FOLDER,
    HOURS_TO_DISPATCH,
    MODELS_FOLDER,
    ORDERS_PLACED,
    PRODUCT_CODE,
)

S3 = "s3://"


def check(chosen: Namespace) -> int:
    """Say of each file what the stage would say.

    Raises:
        RuntimeError: The model in service cannot be read.
        ValueError: The signing key is too short, or empty.
    """
    champion = None
    if chosen.against is not None:
        champion = find_champion(chosen.against)
    refused = 0
    for file in chosen.files:
        try:
            line = describe(file, champion)
        except (RuntimeError, ValueError) as refusal:
            line = str(refusal)
            refused += 1
        print(printable(line), flush=True)
    return int(refused > 0)


def tell_newest(bucket: str) -> int:
    """Print date and key of the newest delivery, whatever is in it.

    Raises:
        RuntimeError: There is none, or S3 could not be read.
    """
    for artefact in aws.survey_tables(bucket, DATASETS_FOLDER).usable:
        if is_named_as_delivery(artefact) or isinstance(
            read_delivery(artefact), aws.Dataset
        ):
            print(f"{artefact.timestamp.isoformat()} {printable(artefact.key)}")
            return 0
    raise RuntimeError(f"No delivery found in {S3}{bucket}/{DATASETS_FOLDER}/.")


def find_champion(bucket: str) -> Champion:
    """Get the model to check against.

    Raises:
        RuntimeError: There is none, or it cannot be read.
        ValueError: The signing key is too short, or empty.
    """
    model = aws.get_champion_from_s3(bucket, MODELS_FOLDER, check=read_champion)
    if model is None:
        raise RuntimeError(
            f"There is no model in {S3}{bucket}/{MODELS_FOLDER}/ to check against; "
            "check without --against."
        )
    return read_champion(model)


def describe(file: str, champion: Champion | None) -> str:
    """Tell in one line what is in a file.

    Args:
        file: A path or an s3:// address.
        champion: The model in service, where it is to be checked against that.

    Raises:
        RuntimeError: It cannot be had, or is too large.
        ValueError: It is refused.
    """
    data = read_address(file) if file.startswith(S3) else aws.read_local_table(file)
    examined = examine_delivery(data, file, champion)
    orders = examined.orders
    products = orders[PRODUCT_CODE].nunique()
    good = (
        f"{file} is good: {len(orders):,} orders of {tell_count(products, 'product')}, "
        f"{tell_range(orders, ORDERS_PLACED)}, {tell_range(orders, HOURS_TO_DISPATCH)}"
    )
    name_faults = [f"its name {fault}" for fault in find_name_faults(file)]
    return "; warning: ".join([good, *examined.warnings, *name_faults])


def read_address(address: str) -> DataFrame:
    """Read a table on S3.

    Raises:
        RuntimeError: There is none, it is incomplete or too large, or S3 could not be
            read.
        ValueError: The stage passes over its name, or it cannot be read.
    """
    bucket, _, key = address.removeprefix(S3).partition("/")
    faults = find_name_faults(address)
    if faults:
        raise ValueError(f"{address} is passed over: its name {' and '.join(faults)}.")
    return aws.get_dataset_from_s3(bucket, key.rstrip("/")).data


def find_name_faults(address: str) -> list[str]:
    """Find why the stage would not take a file by its name."""
    name = address.rstrip("/").rpartition("/")[2]
    endings = aws.TABLE_ENDINGS
    faults = []
    if not name.lower().endswith(endings):
        faults.append(f"does not end in {', '.join(endings[:-1])} or {endings[-1]}")
    timestamp = aws.parse_timestamp(name)
    if timestamp is None:
        faults.append("has no timestamp as in week_2021-07-02T23:00:00.csv")
    elif timestamp > aws.latest_taken():
        faults.append(f"is dated in the future ({timestamp:%Y-%m-%dT%H:%M:%S} UTC)")
    if not name.isprintable():
        faults.append("has invisible characters")
    return faults


def tell_range(orders: DataFrame, column: str) -> str:
    return f"{column} from {orders[column].min():.6g} to {orders[column].max():.6g}"


def parse(arguments: Sequence[str]) -> Namespace:
    parser = Parser(prog="python -m pipeline.deliveries", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    explanation = "say of each file what the training stage would say"
    command = commands.add_parser("check", help=explanation, description=__doc__)
    command.add_argument(
        "files", metavar="FILE", nargs="+", help=f"a path or an {S3} address"
    )
    command.add_argument(
        "--against", metavar="BUCKET", help="check against the model in service as well"
    )
    explanation = "print when the newest delivery is dated, and its key"
    command = commands.add_parser("newest", help=explanation, description=explanation)
    command.add_argument("bucket", metavar="BUCKET")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit code.

    Raises:
        RuntimeError: It could not be done.
        ValueError: The signing key is too short, or empty.
        SystemExit: The arguments are invalid.
    """
    chosen = parse(arguments)
    return tell_newest(chosen.bucket) if chosen.command == "newest" else check(chosen)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (RuntimeError, ValueError) as error:
        sys.exit(str(error))
