"""How well single tokens and phones stand for each other (HuBERT, Hsu et al. 2021, §5.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PhoneMeasures:
    """All from 0 to 1, higher is better; all rise with the number of tokens that occur, so compare like with like."""

    phone_purity: float
    """Share of the frames whose phone is the commonest one of their token: the accuracy of guessing by token."""
    cluster_purity: float
    """Share of the frames whose token is the commonest one of their phone."""
    mutual_information: float
    """Normalised by the entropy of phones: how much of what there is to know about the phone the token tells."""
    frames: int


def phone_measures(phones: Sequence[str], tokens: NDArray[np.integer[Any]]) -> PhoneMeasures:
    """Count phones `[F]` against tokens `[F]` of the same frames.

    Raises:
        ValueError: no frames, unequal lengths, or fewer than two phones.
    """
    if len(phones) != len(tokens):
        raise ValueError(f"{len(phones)} phones for {len(tokens)} tokens")
    names, phone_of = np.unique(np.asarray(phones), return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"it takes two phones to tell apart, not {len(names)}")
    _, token_of = np.unique(tokens, return_inverse=True)
    counts = np.zeros((len(names), int(token_of.max()) + 1))
    np.add.at(counts, (phone_of, token_of), 1)
    joint = counts / counts.sum()
    by_phone, by_token = joint.sum(1), joint.sum(0)
    present = joint > 0
    information = (joint[present] * np.log(joint[present] / np.outer(by_phone, by_token)[present])).sum()
    entropy = -(by_phone * np.log(by_phone)).sum()
    return PhoneMeasures(
        float(joint.max(axis=0).sum()), float(joint.max(axis=1).sum()), float(information / entropy), len(tokens)
    )
