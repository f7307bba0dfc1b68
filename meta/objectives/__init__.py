"""Learned objectives, and the learners that follow them."""

from ._epg import EPG as EPG, EPGNetworks as EPGNetworks, TemporalLoss as TemporalLoss
from ._lpg import LPG as LPG, LPGNetworks as LPGNetworks, UpdateRule as UpdateRule
from ._metagenrl import MetaGenRL as MetaGenRL
from ._neural_objective import (
    NeuralObjective as NeuralObjective,
    Padding as Padding,
    TimeInput as TimeInput,
    ValueInput as ValueInput,
)
