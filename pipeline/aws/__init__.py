"""The only rooms that know S3: timestamped objects, datasets and models.

Objects are only ever added, but for what can be made again from others; the newest
timestamp wins; going back means adding again.
"""

from pipeline.aws.arrays import ARRAYS
from pipeline.aws.artefacts import (
    NothingFound,
    Replaced,
    S3Object,
    exists_on_s3,
    find_latest_artefact_on_s3,
    get_object_from_s3,
    put_object_to_s3,
    read_each,
)
from pipeline.aws.formats import TABLE_ENDINGS, TooLarge
from pipeline.aws.listing import (
    PassedOver,
    S3TimestampedArtefact,
    Survey,
    latest_taken,
    list_artefacts_on_s3,
    make_timestamped_filename,
    parse_timestamp,
    survey_folder,
    survey_tables,
)
from pipeline.aws.local_files import read_local_table
from pipeline.aws.client import S3Failure, s3_client
from pipeline.aws.contents import DeclaredClass, DeclaredExtension, declare
from pipeline.aws.csv_text import (
    Unreadable,
    read_csv_header,
    refuse_more_columns,
    refusing_damaged_gzip,
    refusing_unreadable_csv,
)
from pipeline.aws.datasets import (
    Dataset,
    get_dataset,
    get_dataset_from_s3,
    get_latest_csv_dataset_from_s3,
    get_latest_parquet_dataset_from_s3,
    put_csv_dataset_to_s3,
    put_parquet_dataset_to_s3,
)
from pipeline.aws.derived import (
    fingerprint,
    put_derived_object_to_s3,
    read_made_from,
)
from pipeline.aws.models import (
    Model,
    add_model_to_s3,
    check_loadable,
    deployed_commit,
    quote,
)
from pipeline.aws.multipart import MultipartUpload
from pipeline.aws.pickling import MAX_BYTES as MAX_MODEL_BYTES
from pipeline.aws.pickling import unpickle_model
from pipeline.aws.published_models import (
    Candidate,
    examine_model,
    find_newest_good_model_on_s3,
    get_champion_from_s3,
    get_latest_pkl_model_from_s3,
    get_newest_good_model_from_s3,
    load_model,
    read_models_from_s3,
    tell_resign,
)
from pipeline.aws.ranged_file import RangedFile
from pipeline.aws.signed_objects import (
    SignedObject,
    add_signed_object_to_s3,
    read_signed_objects_from_s3,
)
from pipeline.aws.signing import (
    KEYS_VARIABLE,
    Proof,
    is_signed,
    sign,
    sign_anew,
    signing_keys,
)
from pipeline.aws.withdrawals import find_withdrawal, group_by_model, withdraw

__all__ = [
    "Candidate",
    "Dataset",
    "DeclaredClass",
    "DeclaredExtension",
    "KEYS_VARIABLE",
    "MAX_MODEL_BYTES",
    "Model",
    "MultipartUpload",
    "NothingFound",
    "PassedOver",
    "Proof",
    "RangedFile",
    "Replaced",
    "S3Failure",
    "S3Object",
    "S3TimestampedArtefact",
    "SignedObject",
    "Survey",
    "TABLE_ENDINGS",
    "TooLarge",
    "Unreadable",
    "add_model_to_s3",
    "add_signed_object_to_s3",
    "check_loadable",
    "declare",
    "deployed_commit",
    "examine_model",
    "exists_on_s3",
    "find_latest_artefact_on_s3",
    "find_newest_good_model_on_s3",
    "find_withdrawal",
    "fingerprint",
    "get_champion_from_s3",
    "get_dataset",
    "get_dataset_from_s3",
    "get_latest_csv_dataset_from_s3",
    "get_latest_parquet_dataset_from_s3",
    "get_latest_pkl_model_from_s3",
    "get_newest_good_model_from_s3",
    "get_object_from_s3",
    "group_by_model",
    "is_signed",
    "latest_taken",
    "list_artefacts_on_s3",
    "load_model",
    "make_timestamped_filename",
    "parse_timestamp",
    "put_csv_dataset_to_s3",
    "put_derived_object_to_s3",
    "put_object_to_s3",
    "put_parquet_dataset_to_s3",
    "quote",
    "read_csv_header",
    "read_each",
    "read_local_table",
    "read_made_from",
    "read_models_from_s3",
    "read_signed_objects_from_s3",
    "refuse_more_columns",
    "refusing_damaged_gzip",
    "refusing_unreadable_csv",
    "s3_client",
    "sign",
    "sign_anew",
    "signing_keys",
    "survey_folder",
    "survey_tables",
    "tell_resign",
    "unpickle_model",
    "withdraw",
]

declare(*ARRAYS)
