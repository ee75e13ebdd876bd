"""Losses as pure functions, and transforms of them."""

from .actor_critic import (
    actor_critic_losses as actor_critic_losses,
    replay_returns as replay_returns,
)
from .batch import Batch as Batch
from .gpld import (
    Penalty as Penalty,
    ReplayedState as ReplayedState,
    for_mean as for_mean,
    jacobian_penalty as jacobian_penalty,
    posterior_penalty as posterior_penalty,
    prior_penalty as prior_penalty,
)
from .gradient_penalty import (
    draw_probes as draw_probes,
    flatten as flatten,
    gradient_penalty as gradient_penalty,
)
from .gram_penalty import gram_penalty as gram_penalty
from .imagination import Imagined as Imagined, imagine as imagine
from .objective import (
    LossOutput as LossOutput,
    dreamer_loss as dreamer_loss,
    make_loss as make_loss,
    penalized as penalized,
    with_penalties as with_penalties,
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
from .smoothness import (
    Smoothness as Smoothness,
    smoothness as smoothness,
    smoothness_report as smoothness_report,
    spectral_norm as spectral_norm,
)
from .world_model import observe as observe, world_model_losses as world_model_losses
