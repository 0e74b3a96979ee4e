"""Libraries that chat on standard error while they load, told to be quiet: users see our own progress instead."""

from __future__ import annotations

import logging
import warnings


def quiet_libraries() -> None:
    """Call before transformers, datasets, sentence-transformers or bitsandbytes load something. Warnings of errors stay."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns about an optional kernel package on every CPU
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # of names the libraries use themselves
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
