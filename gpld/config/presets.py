"""Named starting points; every flag of the command line overrides them."""

from dataclasses import replace

from .config import Config
from .data import EnvConfig, ReplayConfig
from .model import ModelConfig
from .objective import ActorCriticConfig, GPLDConfig, OptimizerConfig, ScheduleConfig
from .run import CheckpointConfig, EvaluationConfig, LogConfig

_PAPER = Config()

# The reproduction command of the authors' README, run by their released code: the mean of
# the penalty goes over all states of the batch, its coefficient stops at the script's
# default of 0.1, four episodes are run per evaluation, and the budget counts decisions.
_AUTHORS = replace(
    _PAPER,
    preset="authors",
    env_steps=1_000_000,
    precision="bfloat16",
    gpld=GPLDConfig(reduction="batch", schedule=ScheduleConfig(minimum=0.1)),
    evaluation=EvaluationConfig(episodes=4),
    checkpoint=CheckpointConfig(every=100_000),
)

# Pictures instead of vectors, of which the paper shows two tasks.
_PAPER_PIXELS = replace(
    _PAPER, preset="paper_pixels", task="hopper_hop", env=EnvConfig(observations="pixels")
)

# The authors' script for pictures: another lower end of the coefficient than for vectors.
# Their configuration for pictures also keeps the penalty off for 200,000 env steps, which the
# script undoes for this schedule: `--gpld.schedule.start 200000` is what it would be.
_AUTHORS_PIXELS = replace(
    _AUTHORS,
    preset="authors_pixels",
    task="hopper_hop",
    env_steps=505_000,
    env=_PAPER_PIXELS.env,
    gpld=GPLDConfig(reduction="batch", schedule=ScheduleConfig(minimum=0.01)),
    checkpoint=CheckpointConfig(every=50_000),
)

# The block `dmc_proprio` of the official configuration.
_DREAMERV3 = replace(
    _PAPER,
    preset="dreamerv3",
    env_steps=1_100_000,
    precision="bfloat16",
    env=EnvConfig(action_repeat=1),
    replay=ReplayConfig(train_ratio=1024),
    model=ModelConfig(size="1m"),
    ac=ActorCriticConfig(imag_length=15),
    gpld=GPLDConfig(lambda0=0.0),
)

# What CPU cores can compute: networks and batches are smaller, the learning rate is higher.
_SMALL = replace(
    _PAPER,
    preset="small",
    task="cartpole_balance",
    env_steps=20_000,
    precision="float32",  # products this small gain nothing from others
    env=EnvConfig(num_envs=4),
    replay=ReplayConfig(batch_size=8, batch_length=16, train_ratio=64),
    model=ModelConfig(
        size="1m", deter=256, hidden=64, classes=8, units=64, stoch=16, policy_layers=2
    ),
    ac=ActorCriticConfig(imag_length=15),
    optimizer=OptimizerConfig(learning_rate=4e-4, warmup=100),
    evaluation=EvaluationConfig(every=2_000),
)

# Experience costs next to nothing where it is simulated together with the updates: an update
# for every 8 env steps instead of every second one, from 64 environments, which are in
# different parts of their episodes. Networks and batches are those of `small`; horizon,
# imagination and learning rate are those that its results were made with. An update for every
# 16 is not enough: returns rise half as fast per update, and fall back.
_MJX = replace(
    _SMALL,
    preset="mjx",
    loop="device",
    env_steps=48_000,
    env=EnvConfig(num_envs=64, backend="mjx", stagger=True),
    replay=replace(_SMALL.replay, train_ratio=16),
    ac=ActorCriticConfig(imag_length=10, horizon=100),
    optimizer=replace(_SMALL.optimizer, learning_rate=1e-3),
    evaluation=EvaluationConfig(every=16_000),
    log=LogConfig(every=4_000, report_every=32_000),
)

# The paper's setting, in which only the simulator is another one.
_MJX_PAPER = replace(_PAPER, preset="mjx_paper", loop="device", env=EnvConfig(backend="mjx"))

_DEBUG = replace(
    _PAPER,
    preset="debug",
    env_steps=200,
    precision="float32",  # compiles fastest
    env=EnvConfig(num_envs=2, workers=0),
    replay=ReplayConfig(batch_size=2, batch_length=8, train_ratio=4),
    model=ModelConfig(size="1m", deter=32, hidden=16, classes=4, units=16, stoch=4, blocks=4),
    ac=ActorCriticConfig(imag_length=4),
    optimizer=OptimizerConfig(warmup=2),
    evaluation=EvaluationConfig(every=1_000_000, episodes=1, video_every=0, predictions=0),
    log=LogConfig(every=50),
)

_PUBLISHED = (_PAPER, _PAPER_PIXELS, _AUTHORS, _AUTHORS_PIXELS, _DREAMERV3)
_OURS = (_SMALL, _MJX, _MJX_PAPER, _DEBUG)

PRESETS: dict[str, Config] = {config.preset: config for config in (*_PUBLISHED, *_OURS)}
