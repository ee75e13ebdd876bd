"""How the clocks of a run go with one another."""

from ..replay import TrainRatio

train_ratio = TrainRatio.of
