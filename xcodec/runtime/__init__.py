"""A codec at work on files: on one (`files.py`), on many (`batch.py`), and which become which (`plan.py`)."""
