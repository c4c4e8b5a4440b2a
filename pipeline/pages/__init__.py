"""What is shown of the runs' records: HTML files for whoever was not there."""

from pipeline.pages.evidence import Evidence
from pipeline.pages.index import INDEX, make_index
from pipeline.pages.run import make_run_page
from pipeline.pages.templating import read_source
from pipeline.pages.weeks import Run, find_friday, sort_into_weeks

__all__ = [
    "Evidence",
    "INDEX",
    "Run",
    "find_friday",
    "make_index",
    "make_run_page",
    "read_source",
    "sort_into_weeks",
]
