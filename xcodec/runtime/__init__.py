"""A codec at work.

How it runs: engines (`load.py`, `engines.py`, and what they use: `processor.py`, `shortconv.py`). Sound of any length:
networks over pieces (`sliding.py`), streams (`streaming.py`), pipes (`pipes.py`). Files: one (`files.py`, encoded from
a `recording.py`), many (`batch.py`), and which become which (`plan.py`).
"""
