"""Settings with which the whole agent, penalty included, solves the probes in seconds."""

from gpld.config import (
    ActorCriticConfig,
    Config,
    EnvConfig,
    EvaluationConfig,
    LogConfig,
    ModelConfig,
    OptimizerConfig,
    ReplayConfig,
)


def settings(task: str, env_steps: int) -> Config:
    return Config(
        task=task,
        env_steps=env_steps,
        precision="float32",  # whatever the processor
        env=EnvConfig(num_envs=4, action_repeat=1, workers=0),
        replay=ReplayConfig(batch_size=8, batch_length=16, train_ratio=64),
        model=ModelConfig(size="1m", deter=64, hidden=32, classes=8, units=32, stoch=8, blocks=4),
        ac=ActorCriticConfig(imag_length=10, horizon=20),
        optimizer=OptimizerConfig(learning_rate=3e-3, warmup=50),
        evaluation=EvaluationConfig(every=10**6, episodes=32, num_envs=16),
        log=LogConfig(every=500),
    )
