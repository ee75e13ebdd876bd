"""Pictures of a run: its learning curve, and predictions of its world model."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.random as jr
import numpy as np

from ..config import Config
from ..errors import MachineError, UsageError
from ..evaluation.open_loop import predict_open_loop
from ..losses import Batch
from ..models import Dreamer
from ..runs.folder import RunFolder
from ..seeding import derive_seed
from ..xla.precision import full_products


class Pictures:
    """Draws into a run folder, until something cannot be written there."""

    def __init__(self, config: Config, folder: RunFolder, say: Callable[[str], None]):
        """Draw nothing yet.

        Args:
            config: Settings.
            folder: Folder of the run.
            say: Takes a line about pictures.
        """
        self._config, self._folder, self._say = config, folder, say
        self._draws_curve = True
        self._num_sequences = config.evaluation.predictions
        self._predict = eqx.filter_jit(predict_open_loop)

    def learning_curve(self) -> None:
        """Draw the returns so far over env steps."""
        # Here and below, since matplotlib takes half a second to import.
        from ..analysis.figures import learning_curve

        if self._draws_curve:
            try:
                learning_curve(self._folder)
            except (UsageError, MachineError) as error:
                self._draws_curve = False
                self._say(f"no learning curve: {error}")

    def predictions(self, model: Dreamer, batch: Batch | None, env_step: int) -> None:
        """Show the model the first half of stored sequences, and draw how it predicts the rest.

        Args:
            model: Networks.
            batch: The last batch, as host arrays; None before the first update.
            env_step: Env steps collected so far; names the files in `predictions/`.
        """
        length = self._config.replay.batch_length
        if self._num_sequences == 0 or batch is None or length < 2:
            return
        from ..analysis.predictions import draw_predictions

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
