"""Settings, presets and seeds."""

import dataclasses
import functools
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gpld
from gpld import config as settings
from gpld.config import (
    SIZES,
    ActorCriticConfig,
    CheckpointConfig,
    Config,
    DistributedConfig,
    EnvConfig,
    EvaluationConfig,
    GPLDConfig,
    LogConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    ReplayConfig,
    ScheduleConfig,
    from_dict,
    to_dict,
)
from gpld.config.config import _BEFORE, _RETIRED
from gpld.config.presets import PRESETS
from gpld.seeding import derive_seed

DATACLASSES = [
    cls
    for cls in vars(settings).values()
    if isinstance(cls, type) and dataclasses.is_dataclass(cls)
]


def _flat(value, prefix=""):
    """Settings by their dotted names."""
    if not isinstance(value, dict):
        return {prefix: value}
    return {
        name: leaf
        for key, child in value.items()
        for name, leaf in _flat(child, f"{prefix}.{key}" if prefix else key).items()
    }


# Out of range


_OUT_OF_RANGE = [
    (Config, "seed", -1, "in [0, 2**32 - `seeds`]"),
    (Config, "seed", 2**32, "in [0, 2**32 - `seeds`]"),
    (Config, "env_steps", 0, "at least 1"),
    (Config, "profile", -1, "non-negative"),
    (Config, "seeds", 0, "at least 1"),
    (DistributedConfig, "distributed.processes", 0, "at least 1"),
    (Config, "devices", 0, "a divisor of `replay.batch_size` (16)"),
    (Config, "devices", 3, "a divisor of `replay.batch_size` (16)"),
    (EnvConfig, "env.num_envs", 0, "at least 1"),
    (EnvConfig, "env.action_repeat", 0, "at least 1"),
    (EnvConfig, "env.workers", -1, "at least 0"),
    (EnvConfig, "env.image_size", 0, "at least 1"),
    (ModelConfig, "model.depth", 0, "at least 1"),
    (ModelConfig, "model.multipliers", (), "numbers of at least 1"),
    (ModelConfig, "model.multipliers", (2, 0), "numbers of at least 1"),
    (ModelConfig, "model.kernel", 4, "a positive odd number"),
    (ModelConfig, "model.image_blocks", 0, "at least 1"),
    (EvaluationConfig, "evaluation.predictions", -1, "at least 0"),
    (ReplayConfig, "replay.capacity", 0, "at least 1"),
    (ReplayConfig, "replay.batch_size", 0, "at least 1"),
    (ReplayConfig, "replay.batch_length", 1, "at least 2"),
    (ReplayConfig, "replay.train_ratio", 0.0, "positive"),
    (ReplayConfig, "replay.train_ratio", math.nan, "positive"),
    (ReplayConfig, "replay.train_ratio", math.inf, "finite"),
    (ModelConfig, "model.deter", 0, "a positive multiple of `model.blocks` (8)"),
    (ModelConfig, "model.deter", 12, "a positive multiple of `model.blocks` (8)"),
    (ModelConfig, "model.hidden", 0, "at least 1"),
    (ModelConfig, "model.classes", 1, "in 2 to 256"),
    (ModelConfig, "model.classes", 257, "in 2 to 256"),
    (ModelConfig, "model.units", 0, "at least 1"),
    (ModelConfig, "model.stoch", 0, "at least 1"),
    *(
        (ModelConfig, f"model.{name}_layers", 0, "at least 1")
        for name in (
            *("prior", "posterior", "encoder", "decoder"),
            *("reward", "continue", "policy", "value"),
        )
    ),
    (ModelConfig, "model.unimix", 0.0, "in (0, 1)"),
    (ModelConfig, "model.unimix", 1.0, "in (0, 1)"),
    *(
        (LossConfig, f"loss.{field.name}", -0.1, "non-negative")
        for field in dataclasses.fields(LossConfig)
    ),
    (ActorCriticConfig, "ac.imag_length", 0, "at least 1"),
    (ActorCriticConfig, "ac.horizon", 1.0, "greater than 1"),
    (ActorCriticConfig, "ac.trace", 1.1, "in [0, 1]"),
    (ActorCriticConfig, "ac.trace", -0.1, "in [0, 1]"),
    (ActorCriticConfig, "ac.entropy", -1.0, "non-negative"),
    (ActorCriticConfig, "ac.entropy", math.inf, "finite"),
    (LossConfig, "loss.dyn", math.inf, "finite"),
    (ActorCriticConfig, "ac.slow_regularizer", -1.0, "non-negative"),
    (ActorCriticConfig, "ac.slow_rate", 0.0, "in (0, 1]"),
    (ActorCriticConfig, "ac.slow_rate", 1.1, "in (0, 1]"),
    (ActorCriticConfig, "ac.return_rate", 0.0, "in (0, 1]"),
    (ActorCriticConfig, "ac.return_percentiles", (95.0, 5.0), "two rising numbers in [0, 100]"),
    (ActorCriticConfig, "ac.return_percentiles", (5.0, 101.0), "two rising numbers in [0, 100]"),
    (ActorCriticConfig, "ac.return_limit", 0.0, "positive"),
    (ScheduleConfig, "gpld.schedule.scale", 0.0, "positive"),
    (ScheduleConfig, "gpld.schedule.minimum", -0.1, "non-negative"),
    (ScheduleConfig, "gpld.schedule.start", -1, "non-negative"),
    (ScheduleConfig, "gpld.schedule.decay", 0, "at least 1"),
    (ScheduleConfig, "gpld.schedule.interval", 0, "at least 1"),
    (ScheduleConfig, "gpld.schedule.factor", 0.0, "in (0, 1]"),
    (ScheduleConfig, "gpld.schedule.factor", 1.5, "in (0, 1]"),
    (ScheduleConfig, "gpld.schedule.values", (0.1,), "as many numbers as"),
    (GPLDConfig, "gpld.lambda0", -0.1, "non-negative"),
    (GPLDConfig, "gpld.lambda0", math.nan, "non-negative"),
    (GPLDConfig, "gpld.lambda0", math.inf, "finite"),
    (GPLDConfig, "gpld.lambda0_prior", math.inf, "finite"),
    (GPLDConfig, "gpld.lambda0_prior", -0.1, "non-negative"),
    (GPLDConfig, "gpld.rho", 0.0, "in (0, 1]"),
    (GPLDConfig, "gpld.rho", 1.1, "in (0, 1]"),
    (GPLDConfig, "gpld.rows", 0, "at least 1"),
    (OptimizerConfig, "optimizer.learning_rate", 0.0, "positive"),
    (OptimizerConfig, "optimizer.learning_rate", math.inf, "finite"),
    (OptimizerConfig, "optimizer.weight_decay", math.inf, "finite"),
    (OptimizerConfig, "optimizer.warmup", -1, "non-negative"),
    (OptimizerConfig, "optimizer.clip", 0.0, "positive"),
    (OptimizerConfig, "optimizer.beta1", 1.0, "in [0, 1)"),
    (OptimizerConfig, "optimizer.beta2", 1.0, "in [0, 1)"),
    (OptimizerConfig, "optimizer.eps", 0.0, "positive"),
    (OptimizerConfig, "optimizer.weight_decay", -0.1, "non-negative"),
    (EvaluationConfig, "evaluation.every", 0, "at least 1"),
    (EvaluationConfig, "evaluation.episodes", 0, "at least 1"),
    (EvaluationConfig, "evaluation.num_envs", 0, "at least 1"),
    (LogConfig, "log.every", 0, "at least 1"),
    (LogConfig, "log.report_every", -1, "at least 0"),
    (CheckpointConfig, "checkpoint.every", 0, "at least 1"),
    (CheckpointConfig, "checkpoint.minutes", 0.0, "positive"),
    (CheckpointConfig, "checkpoint.keep", 0, "at least 1"),
    (CheckpointConfig, "checkpoint.keep_every", -1, "at least 0"),
    (EnvConfig, "env.timeout", 0.0, "positive"),
    (EnvConfig, "env.max_restarts", -1, "at least 0"),
    (OptimizerConfig, "optimizer.max_skips", 1, "at least 2"),
    (EvaluationConfig, "evaluation.video_every", -1, "at least 0"),
    (GPLDConfig, "gpld.num_probes", 0, "at least 1"),
]


@pytest.mark.parametrize(("cls", "name", "value", "allowed"), _OUT_OF_RANGE)
def test_values_out_of_range_are_named(cls, name, value, allowed):
    with pytest.raises(ValueError, match=re.escape(f"`{name}` must be {allowed}")) as error:
        cls(**{name.rpartition(".")[2]: value})
    assert str(error.value).endswith(f"got {value!r}.")


@pytest.mark.parametrize("blocks", [0, -8])
def test_blocks_out_of_range_are_named(blocks):
    with pytest.raises(ValueError, match=f"`model.blocks` must be .*got {blocks}"):
        ModelConfig(blocks=blocks)


def test_settings_that_depend_on_others():
    with pytest.raises(ValueError, match=r"`gpld.schedule.boundaries` must be given"):
        ScheduleConfig("piecewise")
    with pytest.raises(ValueError, match=r"`gpld.schedule.boundaries` must be rising, got \(5, 5"):
        ScheduleConfig("piecewise", boundaries=(5, 5), values=(0.1, 0.2))
    with pytest.raises(ValueError, match=r"`gpld.rows` must be at most `model.stoch` \(4\), got 5"):
        Config(model=ModelConfig(stoch=4), gpld=GPLDConfig(rows=5))
    Config(model=ModelConfig(stoch=4), gpld=GPLDConfig(rows=4))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env_steps": 10**20}, "`env_steps` must be below 2**32, got 100000000000000000000."),
        # All environments together make the last env step.
        ({"env_steps": 2**32 - 8}, "`env_steps` must be below 2**32, got 4294967288."),
        (
            {"replay": ReplayConfig(train_ratio=1e300)},
            "`replay.train_ratio` must be such that there are less than 2**31 updates, got 1e+300.",
        ),
        (
            {"env": EnvConfig(num_envs=10**9)},
            "`replay.capacity` must be at least `env.num_envs` (1000000000), a sequence for each, "
            "got 5000000.",
        ),
        (
            {"replay": ReplayConfig(capacity=15)},
            "`replay.capacity` must be at least `env.num_envs` (16), a sequence for each, got 15.",
        ),
    ],
)
def test_what_clocks_and_replay_cannot_count_is_refused(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        dataclasses.replace(Config(), **changes)
    Config(env_steps=2**32 - 16, replay=ReplayConfig(train_ratio=100, capacity=16))
    Config(offline="runs/other", replay=ReplayConfig(capacity=15))  # which has its own streams


def test_layers_are_counted_in_hundreds():
    with pytest.raises(
        ValueError, match=r"`model.policy_layers` must be at most 1000, got 1000000"
    ):
        ModelConfig(policy_layers=10**6)


def test_every_numeric_setting_has_a_range():
    covered = {name for _, name, _, _ in _OUT_OF_RANGE} | {"model.blocks"}
    covered |= {"gpld.schedule.boundaries"}
    covered |= {"init.modules", "init.freeze"}  # see test_warm_start.py
    free = {"env.workers", "env.stagger", "replay.online", "deterministic", "log.tensorboard"}
    free |= {"compute.rewrite"}
    for name, value in _flat(to_dict(Config())).items():
        if isinstance(value, (int, float, tuple)):
            assert name in covered | free, name


# Round trips


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name):
    preset = PRESETS[name]
    assert preset.preset == name
    copy = from_dict(json.loads(json.dumps(to_dict(preset))))
    assert copy == preset
    assert hash(copy) == hash(preset)  # tuples are tuples again: a static argument of jit


def test_piecewise_schedules_survive_json():
    schedule = ScheduleConfig("piecewise", boundaries=(1, 2), values=(0.1, 0.2))
    config = Config(gpld=GPLDConfig(schedule=schedule, lambda0_prior=0.25))
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


def test_dictionaries_with_mistakes():
    with pytest.raises(ValueError, match=r"`gpld.rho` must be in"):
        from_dict(stored("gpld.rho", 2.0))


def stored(name=None, value=None):
    """All settings as a file has them, and one of them another one."""
    values = json.loads(json.dumps(to_dict(Config())))
    if name is not None:
        *groups, own = name.split(".")
        functools.reduce(dict.__getitem__, groups, values)[own] = value
    return values


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("task", 5, "`task` must be text, got 5"),
        ("task", None, "`task` must be text, got None"),
        ("seed", "0", "`seed` must be a whole number, got '0'"),
        ("env_steps", 1.5, "`env_steps` must be a whole number, got 1.5"),
        ("env_steps", True, "`env_steps` must be a whole number, got True"),
        ("env_steps", 10**30, "`env_steps` must be a whole number, got 1000"),
        ("deterministic", 1, "`deterministic` must be true or false, got 1"),
        ("run", 7, "`run` must be text or null, got 7"),
        ("env", [1], "`env` must be an object with settings, got [1]"),
        ("env", None, "`env` must be an object with settings, got None"),
        ("gpld.schedule", 3, "`gpld.schedule` must be an object with settings, got 3"),
        ("gpld.lambda0", {}, "`gpld.lambda0` must be a number, got {}"),
        ("gpld.lambda0", False, "`gpld.lambda0` must be a number, got False"),
        ("gpld.target", ["prior"], "`gpld.target` must be one of posterior, prior, both, got"),
        ("model.units", "a", "`model.units` must be a whole number or null, got 'a'"),
        ("evaluation.every", [1], "`evaluation.every` must be a whole number, got [1]"),
        ("init.from_", 1, "`init.from_` must be text or null, got 1"),
        ("init.modules", [1], "`init.modules` must be a list, each text, got [1]"),
        ("ac.return_percentiles", [5.0], "`ac.return_percentiles` must be a list, each a number"),
        ("foo", 1, "There is no setting `foo`"),
        ("gpld.foo", 1, "There is no setting `gpld.foo`"),
    ],
)
def test_a_stored_value_of_another_type_is_named(name, value, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        from_dict(stored(name, value))


def test_runs_older_than_a_setting_had_what_it_replaced():
    values = stored()
    del values["compute"]["rewrite"]
    assert from_dict(values).compute.rewrite


@pytest.mark.parametrize("name", _RETIRED)
def test_a_setting_that_is_no_more_is_read_if_it_had_its_default(name):
    values, only = stored(), _RETIRED[name]
    group, own = name.split(".")
    values[group][own] = only
    assert from_dict(values) == Config()
    values[group][own] = 3
    message = f"`{name}` must be {only}, since it is no setting any more, got 3."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        from_dict(values)


def test_no_stored_setting_is_taken_for_granted():
    for name in sorted(set(_flat(stored())) - set(_BEFORE)):
        values = stored()
        *groups, own = name.split(".")
        del functools.reduce(dict.__getitem__, groups, values)[own]
        with pytest.raises(ValueError, match=f"^`{name}` is missing"):
            from_dict(values)
    values = stored("optimizer.clip", 1)
    assert from_dict(values).optimizer.clip == 1  # as JSON of others may have a number


# What the presets are


def test_the_default_is_the_preset_paper():
    assert PRESETS["paper"] == Config()
    expected = {
        # Table 2 of the paper, by hand.
        "model.size": "12m",
        "env.action_repeat": 2,
        "env.num_envs": 16,
        "replay.train_ratio": 512,
        "replay.batch_size": 16,
        "replay.batch_length": 64,
        "replay.capacity": 5_000_000,
        "evaluation.every": 5000,
        "evaluation.episodes": 3,
        "optimizer.learning_rate": 4e-5,
        "optimizer.beta1": 0.9,
        "optimizer.beta2": 0.999,
        "optimizer.eps": 1e-20,
        "optimizer.weight_decay": 0.0,
        "optimizer.clip": 0.3,
        "optimizer.warmup": 1000,
        "model.stoch": 32,
        "loss.rec": 1.0,
        "loss.dyn": 1.0,
        "loss.rep": 0.1,
        "loss.repval": 0.3,
        "loss.free_nats": 1.0,
        "ac.imag_length": 25,
        "ac.horizon": 333.0,
        "ac.trace": 0.95,
        "ac.entropy": 3e-4,
        "ac.slow_rate": 0.02,
        "model.unimix": 0.01,
        "gpld.lambda0": 0.5,
        "gpld.target": "posterior",
        "gpld.rho": 0.5,
        "gpld.rows": None,
        "gpld.reduction": "sampled",
        "gpld.schedule.kind": "sqrt",
        "gpld.schedule.scale": 1000.0,
        "gpld.schedule.minimum": 0.001,
        "gpld.schedule.start": 0,
        "env_steps": 500_000,
    }
    actual = _flat(to_dict(Config()))
    assert {name: actual[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "authors",
            {
                "env_steps": 1_000_000,
                "precision": "bfloat16",
                "gpld.reduction": "batch",
                "gpld.schedule.minimum": 0.1,
                "evaluation.episodes": 4,
                "checkpoint.every": 100_000,
            },
        ),
        ("mjx_paper", {"loop": "device", "env.backend": "mjx"}),
        (
            "dreamerv3",
            {
                "env_steps": 1_100_000,
                "precision": "bfloat16",
                "env.action_repeat": 1,
                "replay.train_ratio": 1024.0,
                "model.size": "1m",
                "ac.imag_length": 15,
                "gpld.lambda0": 0.0,
            },
        ),
    ],
)
def test_what_presets_change(name, expected):
    paper, preset = _flat(to_dict(PRESETS["paper"])), _flat(to_dict(PRESETS[name]))
    changed = {key: value for key, value in preset.items() if value != paper[key]}
    assert changed == expected | {"preset": name}


def test_mjx_is_small_with_many_environments_on_the_device():
    small, mjx = _flat(to_dict(PRESETS["small"])), _flat(to_dict(PRESETS["mjx"]))
    changed = {key for key, value in mjx.items() if value != small[key]}
    assert changed == {
        *("preset", "loop", "env_steps", "replay.train_ratio", "evaluation.every"),
        *("env.num_envs", "env.backend", "env.stagger", "log.every", "log.report_every"),
        *("ac.horizon", "ac.imag_length", "optimizer.learning_rate"),
    }
    ratios = [PRESETS[name].replay.updates_per_env_step for name in ("small", "mjx")]
    assert ratios == [1 / 2, 1 / 8]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"env": EnvConfig()}, "`env.backend` must be mjx with `loop` device, got 'auto'"),
        (
            {"env": EnvConfig(backend="mjx", workers=2)},
            "`env.workers` must be 0 or None with `loop` device, got 2",
        ),
        (
            {"env": EnvConfig(backend="mjx", observations="pixels")},
            "`env.observations` must be vectors with `loop` device, got 'pixels'",
        ),
        (
            {"replay": ReplayConfig(storage="disk")},
            "`replay.storage` must be ram with `loop` device, got 'disk'",
        ),
        ({"offline": "runs/walker"}, "`offline` must be None with `loop` device, got 'runs/walk"),
        ({"devices": 2}, "`devices` must be 1 with `loop` device, got 2"),
        (
            {"distributed": DistributedConfig(processes=2), "run": "runs/walker"},
            "`distributed.processes` must be 1 with `loop` device, got 2",
        ),
    ],
)
def test_what_does_not_go_with_the_device_loop(settings, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PRESETS["mjx_paper"], **settings)


def test_only_mjx_staggers_episodes():
    with pytest.raises(ValueError, match=r"`env\.stagger` must be False unless `env\.backend` is"):
        EnvConfig(stagger=True)


def test_the_baseline_has_no_penalty():
    assert [name for name, preset in PRESETS.items() if not preset.gpld.coefficients] == [
        "dreamerv3"
    ]


@pytest.mark.parametrize(
    ("size", "dims"),
    [
        ("1m", (512, 64, 4, 64, 4)),
        ("12m", (2048, 256, 16, 256, 16)),
        ("25m", (3072, 384, 24, 384, 24)),
        ("50m", (4096, 512, 32, 512, 32)),
        ("100m", (6144, 768, 48, 768, 48)),
        ("200m", (8192, 1024, 64, 1024, 64)),
        ("400m", (12288, 1536, 96, 1536, 96)),
    ],
)
def test_sizes(size, dims):
    assert SIZES[size] == dims  # deter, hidden, classes, units, depth
    assert ModelConfig(size=size).dims == dims
    own = ModelConfig(size=size, hidden=7, classes=5).dims
    assert own == (dims[0], 7, 5, *dims[3:])


@pytest.mark.parametrize(
    ("gpld", "coefficients"),
    [
        (GPLDConfig(), {"gp_post": 0.5}),
        (GPLDConfig(lambda0_prior=0.25), {"gp_post": 0.5}),
        (GPLDConfig(target="prior"), {"gp_prior": 0.5}),
        (GPLDConfig(target="prior", lambda0_prior=0.25), {"gp_prior": 0.25}),
        (GPLDConfig(target="prior", lambda0=0.0, lambda0_prior=0.25), {"gp_prior": 0.25}),
        (GPLDConfig(target="both"), {"gp_post": 0.5, "gp_prior": 0.5}),
        (GPLDConfig(target="both", lambda0_prior=0.0), {"gp_post": 0.5}),
        (GPLDConfig(target="both", lambda0=0.0), {}),
        (GPLDConfig(lambda0=0.0), {}),
    ],
)
def test_coefficients(gpld, coefficients):
    assert gpld.coefficients == coefficients


def test_derived_settings():
    assert Config().replay.updates_per_env_step == 0.5
    assert PRESETS["dreamerv3"].replay.updates_per_env_step == 1.0
    assert ActorCriticConfig().discount == pytest.approx(0.996996996996997, rel=1e-15)


def test_every_setting_is_read():
    folder = Path(gpld.__file__).parent
    code = {path: path.read_text() for path in folder.rglob("*.py")}
    # Of the settings themselves only what is computed from them counts, not their checks.
    checks = re.compile(r"def __post_init__\(self\):.*?(?=\n    @property|\n\n\n)", re.DOTALL)
    code |= {path: checks.sub("", code[path]) for path in (folder / "config").glob("*.py")}
    text = "\n".join(code.values())
    # These are read by their place, in loops over the fields.
    by_loop = {field.name for field in dataclasses.fields(LossConfig)} | set(SIZES["1m"]._fields)
    for cls in DATACLASSES:
        for field in dataclasses.fields(cls):
            if cls in (LossConfig, ModelConfig) and field.name in by_loop:
                continue
            assert re.search(rf"\.{field.name}\b", text), f"{cls.__name__}.{field.name}"


# Seeds


def test_seeds_of_streams_differ():
    cases = [
        (seed, name, index)
        for seed in (0, 1, 2**31)
        for name in ("collect", "evaluate", "replay")
        for index in (0, 1, 500_000)
    ]
    seeds = [derive_seed(*case) for case in cases]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert seeds == [derive_seed(*case) for case in cases]
    assert derive_seed(3, "collect") == derive_seed(3, "collect", 0)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ("Config(precision='float16')", "`precision` must be one of auto, float32, mixed"),
        ("GPLDConfig(target='posteriro')", "`gpld.target` must be one of posterior, prior"),
        ("ScheduleConfig(kind='sqr')", "`gpld.schedule.kind` must be one of sqrt"),
        ("ModelConfig(size='2m')", "`model.size` must be one of 1m, 12m"),
    ],
)
def test_named_values_are_checked_where_no_flags_are_parsed(made, message):
    """In a process of its own: here the types would be checked first."""
    code = f"from gpld.config import *; {made}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"ValueError: {message}" in result.stderr
