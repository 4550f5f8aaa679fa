"""Evaluation of any codec: reconstruction quality, and how suitable its tokens are for language models.

clips.py · codecs.py    what is evaluated: clips of a corpus, codecs of ours and of others under one interface
metrics/ · asr.py       signal metrics, learned metrics, word error rate
reconstruction.py       runs them over clips -> clips.jsonl; summary.py: means, intervals, paired tests
semantic.py             tokens and features, by abx.py, token_measures.py and alignment.py -> semantic.json
report/                 one HTML page, Markdown and CSV of both
"""
