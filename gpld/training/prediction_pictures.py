"""Pictures of a world model's predictions in the course of a run."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.random as jr
import numpy as np

from ..config import Config
from ..errors import MachineError
from ..evaluation.open_loop import predict_open_loop
from ..losses import Batch
from ..models import Dreamer
from ..runs.folder import RunFolder
from ..seeding import derive_seed
from ..xla.precision import full_products


class Predictor:
    """Shows the model the first half of stored sequences and draws how it thinks they go on."""

    def __init__(self, config: Config, folder: RunFolder, say: Callable[[str], None]):
        """Remembers what is the same every time.

        Args:
            config: Settings.
            folder: Where the pictures go, into `predictions/`.
            say: Takes a line about them.
        """
        self._config, self._folder, self._say = config, folder, say
        self._num_sequences = config.evaluation.predictions
        self._predict = eqx.filter_jit(predict_open_loop)

    def __call__(self, model: Dreamer, batch: Batch | None, env_step: int) -> None:
        """Draws predictions of some sequences, if the settings want any.

        Args:
            model: Networks.
            batch: What it was trained on last, as host arrays; None if it was not.
            env_step: Env steps collected so far; names the files.
        """
        length = self._config.replay.batch_length
        if self._num_sequences == 0 or batch is None or length < 2:
            return
        from ..analysis import draw_predictions  # half a second that the start can do without

        some = jax.tree.map(lambda x: np.asarray(x)[: self._num_sequences], batch)
        num_seen = length // 2
        key = jr.key(derive_seed(self._config.seed, "predict", env_step))
        with full_products(model.rssm.dtype):
            predicted = self._predict(model, some, num_seen, key=key)
        path = self._folder.path / "predictions" / f"{env_step:09d}"
        try:
            files = draw_predictions(path, some.observation, jax.device_get(predicted), num_seen)
            self._say(f"wrote {', '.join(str(file) for file in files)}")
        except MachineError as error:
            self._num_sequences = 0
            self._say(f"no pictures of predictions: {error}")
