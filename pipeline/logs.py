"""One log format for both stages."""

import logging
import sys
import time

FORMAT = "%(asctime)s - %(levelname)s - %(module)s.%(funcName)s - %(message)s"
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
HANDLER_NAME = "pipeline"


def configure_logger() -> logging.Logger:
    """Send the pipeline's log, and what libraries warn of, to stdout, in UTC.

    Calling it again changes nothing: each line is printed once.
    """
    root = logging.getLogger()
    if HANDLER_NAME not in [handler.name for handler in root.handlers]:
        formatter = logging.Formatter(FORMAT, TIME_FORMAT)
        formatter.converter = time.gmtime
        handler = logging.StreamHandler(sys.stdout)
        handler.name = HANDLER_NAME
        handler.setFormatter(formatter)
        root.addHandler(handler)
        logging.captureWarnings(True)
    logger = logging.getLogger("pipeline")
    logger.setLevel(logging.INFO)
    return logger
