"""Reads the published implementation's numbers, and names its parameters.

`named_parameters` is the one mapping between this project's parameters and the
reference's names. It works on anything with the structure of a `Dreamer`: parameters,
gradients, updated parameters.
"""

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import gpld.losses.gpld
from gpld import agent
from gpld.config import (
    ActorCriticConfig,
    Config,
    GPLDConfig,
    ModelConfig,
    OptimizerConfig,
    ReplayConfig,
    ScheduleConfig,
)
from gpld.losses import Batch, imagine
from gpld.models import (
    BoundedNormal,
    Categorical,
    DiscretePolicy,
    Latent,
    OneHotCategorical,
    StoredLatent,
)

FLAGS = ("is_first", "is_last", "is_terminal")

# Tolerances are those of fixtures/README.md: two runs of the reference on different hardware
# agree to about 1e-5 relative.
LOSS_RTOL = 2e-4
NORM_RTOL = 1e-3


def named_parameters(model) -> dict:
    """Arrays of a `Dreamer` by the reference's names."""
    rssm, core = model.rssm, model.rssm.core
    names = {}

    def linear(name, module):
        names[f"{name}/kernel"] = module.kernel
        names[f"{name}/bias"] = module.bias

    def hidden(linear_name, norm_name, module):
        linear(linear_name, module.linear)
        names[f"{norm_name}/scale"] = module.norm.scale

    def numbered(name, mlp):
        for i, layer in enumerate(mlp.layers):
            hidden(f"{name}{i}", f"{name}{i}norm", layer)

    def head(name, module):
        for i, layer in enumerate(module.mlp.layers):
            hidden(f"{name}/mlp/linear{i}", f"{name}/mlp/norm{i}", layer)

    def conv(name, norm_name, module):
        names[f"{name}/kernel"] = module.conv.kernel
        names[f"{name}/bias"] = module.conv.bias
        names[f"{norm_name}/scale"] = module.norm.scale

    if model.encoder.vectors is not None:
        numbered("enc/mlp", model.encoder.vectors.mlp)
    if model.encoder.images is not None:
        for i, layer in enumerate(model.encoder.images.layers):
            conv(f"enc/cnn{i}", f"enc/cnn{i}norm", layer)
    hidden("dyn/dynin0", "dyn/dynin0norm", core.deter_in)
    hidden("dyn/dynin1", "dyn/dynin1norm", core.stoch_in)
    hidden("dyn/dynin2", "dyn/dynin2norm", core.action_in)
    linear("dyn/dynhid0", core.hidden)
    names["dyn/dynhid0norm/scale"] = core.norm.scale
    linear("dyn/dyngru", core.gates)
    numbered("dyn/prior", rssm.prior_mlp)
    linear("dyn/priorlogit", rssm.prior_out)
    numbered("dyn/obs", rssm.posterior_mlp)
    linear("dyn/obslogit", rssm.posterior_out)
    if model.decoder.vectors is not None:
        head("dec", model.decoder.vectors)
        for key, module in model.decoder.vectors.outputs.items():
            linear(f"dec/vec/{key}/pred", module)
    if model.decoder.images is not None:
        images = model.decoder.images
        linear("dec/sp0", images.deter_in)
        hidden("dec/sp1", "dec/sp1norm", images.stoch_in)
        linear("dec/sp2", images.stoch_out)
        names["dec/spnorm/scale"] = images.norm.scale
        for i, layer in enumerate(reversed(images.layers)):
            conv(f"dec/conv{i}", f"dec/conv{i}norm", layer)
        linear("dec/imgout", images.out)
    head("rew", model.reward)
    linear("rew/head/logits", model.reward.out)
    head("con", model.cont)
    linear("con/head/logit", model.cont.out)
    head("pol", model.policy)
    if isinstance(model.policy, DiscretePolicy):
        linear("pol/head/action/logits", model.policy.logits)
    else:
        linear("pol/head/action/mean", model.policy.mean)
        linear("pol/head/action/stddev", model.policy.std)
    names |= value_parameters(model.value, "val")
    return names


def value_parameters(value, name: str) -> dict:
    """Arrays of a value head (`val`) or of its slow copy (`slowval`)."""
    names = {}
    for i, layer in enumerate(value.mlp.layers):
        names[f"{name}/mlp/linear{i}/kernel"] = layer.linear.kernel
        names[f"{name}/mlp/linear{i}/bias"] = layer.linear.bias
        names[f"{name}/mlp/norm{i}/scale"] = layer.norm.scale
    names[f"{name}/head/logits/kernel"] = value.out.kernel
    names[f"{name}/head/logits/bias"] = value.out.bias
    return names


def state_parameters(state) -> dict:
    """Everything the reference keeps of an agent's state, optimiser aside."""
    return {
        **named_parameters(state.model),
        **value_parameters(state.slow_value, "slowval"),
        "retnorm/lo/value": state.return_norm.low,
        "retnorm/hi/value": state.return_norm.high,
    }


@dataclasses.dataclass(frozen=True)
class Update:
    """One update of the reference: what went in and what came out."""

    batch: Batch
    states: np.ndarray
    probes: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]
    """Outputs by name: `loss`, `losses/*`, `metrics/*`, `grads/*`, `params/*`, ..."""


@dataclasses.dataclass(frozen=True)
class Recording:
    """Consecutive updates of the reference from given parameters."""

    config: Config
    shapes: dict[str, tuple[int, ...]]
    action_size: int
    params: dict[str, np.ndarray]
    policy_offset: float
    """Policy samples are the mean plus this many standard deviations, or the mode of a discrete
    policy."""

    updates: list[Update]
    discrete: bool = False

    def initial_state(self) -> agent.AgentState:
        """The agent with the reference's initial parameters, every one of which is given."""
        state = eqx.filter_eval_shape(
            agent.init,
            self.config,
            self.shapes,
            self.action_size,
            discrete=self.discrete,
            key=jax.random.key(0),
        )
        is_shape = lambda x: isinstance(x, jax.ShapeDtypeStruct)  # noqa: E731
        state = jax.tree.map(
            lambda x: jnp.zeros(x.shape, x.dtype) if is_shape(x) else x, state, is_leaf=is_shape
        )
        names = list(state_parameters(state))
        return eqx.tree_at(
            lambda s: list(state_parameters(s).values()),
            state,
            [jnp.asarray(self.params[name]) for name in names],
        )


def is_agent(path: Path) -> bool:
    """Whether a file records updates of a whole agent, in either layout."""
    with np.load(path) as data:
        return "cfg" in data or any(name.startswith("params0/") for name in data.files)


def is_blocks(path: Path) -> bool:
    """Whether a file records building blocks alone."""
    with np.load(path) as data:
        return "twohot/bins" in data


def load(file: Path, *, path: str = "gram", precision: str = "float32") -> Recording:
    """Reads a file of either layout; the penalty takes one of its two paths."""
    with np.load(file) as arrays:
        data = {name: arrays[name] for name in arrays.files}
    recording = _load_agent(data) if "cfg" in data else _load_sequence(data)
    penalty = dataclasses.replace(recording.config.gpld, path=path)
    config = dataclasses.replace(recording.config, gpld=penalty, precision=precision)
    return dataclasses.replace(recording, config=config)


def _under(data: dict, prefix: str) -> dict:
    return {k.removeprefix(prefix): v for k, v in data.items() if k.startswith(prefix)}


def _store(deter: np.ndarray, stoch: np.ndarray) -> StoredLatent:
    np.testing.assert_array_equal(stoch.sum(-1), 1)  # one-hot, or it cannot be stored
    return StoredLatent(jnp.asarray(deter), jnp.asarray(stoch.argmax(-1), jnp.uint8))


def _load_agent(data: dict) -> Recording:
    """A file with `cfg`: several updates on one batch, outputs of the first in full."""
    cfg = json.loads(str(data["cfg"]))
    params, inputs = _under(data, "params/"), _under(data, "in/")
    carry_action = inputs.pop("carry_action")
    context = _store(inputs.pop("carry_deter"), inputs.pop("carry_stoch"))
    action = inputs.pop("action")
    observation = {k: jnp.asarray(v) for k, v in inputs.items() if k not in (*FLAGS, "reward")}
    batch = Batch(
        observation=observation,
        prev_action=jnp.concatenate([carry_action[:, None], action[:, :-1]], axis=1),
        reward=jnp.asarray(inputs["reward"]),
        context=context,
        **{flag: jnp.asarray(inputs[flag]) for flag in FLAGS},
    )
    posts, priors = cfg["post"] > 0, cfg["prior"] > 0
    scale = cfg["scale"]
    config = Config(
        precision="float32",
        model=ModelConfig(**scale),
        replay=ReplayConfig(batch_size=cfg["B"], batch_length=cfg["T"]),
        ac=ActorCriticConfig(imag_length=cfg["H"]),
        gpld=GPLDConfig(
            lambda0=cfg["post"],
            lambda0_prior=cfg["prior"],
            target="both" if posts and priors else "prior" if priors else "posterior",
            rho=cfg["rho"],
            reduction="batch",
            schedule=ScheduleConfig(scale=cfg["decay_scale"], minimum=cfg["min_lam"]),
        ),
        optimizer=OptimizerConfig(learning_rate=cfg["lr"], warmup=cfg["warmup"]),
    )
    probes = {
        "gp_post": data["gp/eps_post"],
        "gp_prior": data["gp/eps_prior"],
    }
    first = {
        **_under(data, "out/"),
        **{f"grads/{k}": v for k, v in _under(data, "grads/").items()},
    }
    expected = [first] + [{} for _ in range(cfg["updates"] - 1)]
    for i, outputs in enumerate(expected):
        outputs["loss"] = data[f"train/{i}/loss"]
        outputs["metrics/opt/grad_norm"] = data[f"train/{i}/grad_norm"]
    expected[-1] |= {f"params/{k}": v for k, v in _under(data, "final/").items()}
    return Recording(
        config=config,
        shapes={k: v.shape[2:] for k, v in observation.items()},
        action_size=cfg["actdim"],
        discrete=cfg.get("discrete", False),
        params=params,
        policy_offset=0.5,
        updates=[Update(batch, data["gp/indices"], probes, e) for e in expected],
    )


def _load_sequence(data: dict) -> Recording:
    """A file with `params0`: three updates on batches that begin with a context step."""
    params = _under(data, "params0/")
    rows, _, classes = data["step0/gp/eps_post"].shape
    blocks = params["dyn/dynhid0/kernel"].shape[0]
    reward = data["step0/data/reward"]
    config = Config(
        precision="float32",
        model=ModelConfig(
            deter=params["dyn/dynhid0norm/scale"].size,
            hidden=params["dyn/dynin0/bias"].size,
            stoch=rows,
            classes=classes,
            blocks=blocks,
            units=params["rew/mlp/linear0/bias"].size,
            depth=params["enc/cnn0/bias"].size // 2 if "enc/cnn0/bias" in params else None,
        ),
        replay=ReplayConfig(batch_size=reward.shape[0], batch_length=reward.shape[1] - 1),
        # These files carry no settings; fixtures/README.md and this are what they used.
        ac=ActorCriticConfig(imag_length=4),
        gpld=GPLDConfig(lambda0=0.5, lambda0_prior=0.25, target="both", reduction="batch"),
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup=2),
    )
    updates = [
        _sequence_update(_under(data, f"step{i}/"))
        for i in range(sum(name.endswith("/gp/indices") for name in data))
    ]
    return Recording(
        config=config,
        shapes={k: v.shape[2:] for k, v in updates[0].batch.observation.items()},
        action_size=updates[0].batch.prev_action.shape[-1],
        params=params,
        policy_offset=0.7,
        updates=updates,
    )


def _sequence_update(step: dict) -> Update:
    data = _under(step, "data/")
    context = _store(data.pop("dyn/deter")[:, 0], data.pop("dyn/stoch")[:, 0])
    action = data.pop("action")
    trained = {k: jnp.asarray(v[:, 1:]) for k, v in data.items()}
    batch = Batch(
        prev_action=jnp.asarray(action[:, :-1]),
        reward=trained.pop("reward"),
        context=context,
        **{flag: trained.pop(flag) for flag in FLAGS},
        observation=trained,
    )
    probes = {f"gp_{name}": np.moveaxis(step[f"gp/eps_{name}"], 0, 1) for name in ("post", "prior")}
    expected = {
        "loss": step["metrics/opt/loss"],
        "feat/deter": step["replay/dyn/deter"],
        "feat/stoch": step["replay/dyn/stoch"],
        **{k: v for k, v in step.items() if k.startswith("metrics/")},
        **{f"grads/{k}": v for k, v in _under(step, "grad/").items()},
        **{f"params/{k}": v for k, v in _under(step, "params_after/").items()},
    }
    return Update(batch, step["gp/indices"], probes, expected)


def paths(folders: list[Path]) -> Iterator[Path]:
    """All files of recorded numbers in some folders and below."""
    for folder in folders:
        yield from sorted(folder.rglob("*.npz"))


def run(recording: Recording) -> list[tuple[dict, dict]]:
    """What every update of a recording gives here, and what it gave there.

    Sampling is replaced by the recorded draws or by the reference's deterministic choices;
    everything else is the code that trains.
    """
    update = eqx.filter_jit(lambda *args: _update(recording, *args))  # compiles once
    state, results = recording.initial_state(), []
    for recorded in recording.updates:
        draws = jax.tree.map(jnp.asarray, (recorded.states, recorded.probes))
        outputs, state = update(state, recorded.batch, *draws)
        results.append((outputs, recorded.expected))
    return results


def _update(recording, state, batch, states, probes):
    """One update with given draws, and all that the reference recorded of it."""
    config, key = recording.config, jax.random.key(1)
    captured = {}

    def capture(*args, **kwargs):
        captured["result"] = loss_and_grads(*args, **kwargs)
        return captured["result"]

    def policy_sample(dist, key):
        return dist.mean + recording.policy_offset * dist.std

    loss_and_grads = agent.loss_and_grads
    with contextlib.ExitStack() as stack:
        for owner, name, function in (
            (OneHotCategorical, "sample", lambda dist, key: dist.mode()),
            (BoundedNormal, "sample", policy_sample),
            (Categorical, "sample", lambda dist, key: dist.mode()),
            (gpld.losses.gpld, "draw_states", lambda *_: states),
            # One probe per row: an axis between states and rows.
            (gpld.losses.gpld, "draw_state_probes", lambda *args: probes[args[-1]][:, None]),
            (agent, "loss_and_grads", capture),
        ):
            stack.enter_context(mock.patch.object(owner, name, function))
        new_state, latents, metrics = agent.update(state, batch, config=config, key=key)
        (loss, output), grads = captured["result"]
        rssm, rollout = state.model.rssm, output.rollout
        starts = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rollout.latent)
        imagined = jax.vmap(
            lambda s: imagine(state.model, state.slow_value, s, config.ac.imag_length, key=key)
        )(starts)
    feat = jnp.concatenate([imagined.feat[:, 1:], imagined.last[:, None]], axis=1)
    deter, stoch = jnp.split(feat, [rssm.deter], axis=-1)
    later = Latent(deter, stoch.reshape(*stoch.shape[:2], rssm.stoch, rssm.classes))
    restored = jax.vmap(jax.vmap(rssm.restore))(latents)
    outputs = {
        "loss": loss,
        "tokens": rollout.embed,
        "feat/deter": restored.deter,
        "feat/stoch": restored.stoch,
        "feat/logit": rollout.posterior_logits,
        "prior_logit": jax.vmap(jax.vmap(rssm.prior_logits))(rollout.latent.deter),
        "imag/deter": later.deter,
        "imag/stoch": later.stoch,
        "imag/logit": jax.vmap(jax.vmap(rssm.prior_logits))(later.deter),
        "imag/action": imagined.action,
        "state/retnorm/lo/value": output.return_norm.low,
        "state/retnorm/hi/value": output.return_norm.high,
    }
    named = {
        "losses": output.losses,
        "metrics": metrics,
        "grads": named_parameters(grads),
        "params": state_parameters(new_state),
    }
    for group, values in named.items():
        outputs |= {f"{group}/{name}": value for name, value in values.items()}
    return outputs, new_state


# What the reference records beside its results, under other definitions or names.
NOT_COMPARED = {
    "metrics/opt/updates",
    "metrics/opt/grad_rms",
    "metrics/opt/update_rms",
    "metrics/opt/param_rms",
    "metrics/opt/param_count",
    "params/slowval_count/value",
}
for _name in ("gp_post", "gp_prior"):
    NOT_COMPARED |= {f"metrics/{_name}_row_mean", f"metrics/{_name}_rows_used"}


def pairs(updates, *prefixes):
    """Results and expectations under some prefixes; every recorded name must exist."""
    found = [
        (f"update {i}: {name}", np.asarray(outputs[name]), expected)
        for i, (outputs, recorded) in enumerate(updates)
        for name, expected in recorded.items()
        if name.startswith(prefixes) and name not in NOT_COMPARED
    ]
    assert all(actual.shape == expected.shape for _, actual, expected in found)
    return found
