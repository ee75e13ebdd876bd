"""Settings: the only place with default values.

The defaults are the preset `paper`: GPLD-DreamerV3 as the paper describes it
(arXiv 2605.23089, section 5 and table 2). `gpld.config.presets` holds the others.

Three clocks are used everywhere and never mixed: an *env step* is one decision of the
agent in one environment (the reset of an episode counts as one), a *frame* is one control
step of the simulator (env steps x action repeat), an *update* is one gradient step.
"""

from .config import Config as Config, from_dict as from_dict, to_dict as to_dict
from .data import EnvConfig as EnvConfig, ReplayConfig as ReplayConfig
from .flat import (
    differences as differences,
    field_types as field_types,
    flatten as flatten,
    flatten_names as flatten_names,
    lasting as lasting,
)
from .model import (
    NETWORKS as NETWORKS,
    SIZES as SIZES,
    ComputeConfig as ComputeConfig,
    Dimensions as Dimensions,
    InitConfig as InitConfig,
    ModelConfig as ModelConfig,
    Precision as Precision,
)
from .objective import (
    ActorCriticConfig as ActorCriticConfig,
    EstimatorName as EstimatorName,
    GPLDConfig as GPLDConfig,
    LossConfig as LossConfig,
    OptimizerConfig as OptimizerConfig,
    ScheduleConfig as ScheduleConfig,
)
from .run import (
    CheckpointConfig as CheckpointConfig,
    DistributedConfig as DistributedConfig,
    EvaluationConfig as EvaluationConfig,
    LogConfig as LogConfig,
)
