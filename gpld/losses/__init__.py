"""Losses as pure functions, and transforms of them."""

from .actor_critic import (
    Trajectory as Trajectory,
    actor_critic_losses as actor_critic_losses,
    imagine as imagine,
    replay_returns as replay_returns,
)
from .batch import Batch as Batch
from .gpld import (
    Penalty as Penalty,
    posterior_penalty as posterior_penalty,
    prior_penalty as prior_penalty,
)
from .gradient_penalty import gradient_penalty as gradient_penalty, rowwise as rowwise
from .objective import (
    LossOutput as LossOutput,
    dreamer_loss as dreamer_loss,
    make_loss as make_loss,
    penalized as penalized,
)
from .returns import ReturnNorm as ReturnNorm, lambda_returns as lambda_returns
from .schedules import (
    constant as constant,
    cosine_decay as cosine_decay,
    delayed as delayed,
    exponential_decay as exponential_decay,
    linear_decay as linear_decay,
    make_schedule as make_schedule,
    piecewise as piecewise,
    sqrt_decay as sqrt_decay,
    step_decay as step_decay,
)
from .world_model import observe as observe, world_model_losses as world_model_losses
