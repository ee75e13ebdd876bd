"""Rewritten programs: what they compute, and what leads from them to the code that was written."""

import dataclasses
import traceback
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import ACTION_SIZE, CONFIG, SHAPES, tiny_batch
from jax.experimental.compute_on import compute_on
from jax.experimental.xla_metadata import set_xla_metadata
from jax.extend import source_info_util
from jax.extend.core import jaxprs_in_params
from jax.extend.core.primitives import dot_general_p, sin_p
from jax.sharding import AxisType, PartitionSpec

from gpld import agent
from gpld.config import ComputeConfig, differences, flatten, from_dict, to_dict
from gpld.losses import make_loss
from gpld.xla import rewrite, weight_gradients
from gpld.xla.precision import describe_products, mixed
from gpld.xla.rewrite import rewritten

X = jr.normal(jr.key(0), (4, 4))


def unchanged(fn):
    """`fn` under a rule that has nothing to say."""
    return rewritten(fn, lambda *_: None)


def equations(fn, *args):
    """All equations of a program, those of its parts included."""

    def found(jaxpr):
        for equation in jaxpr.eqns:
            yield equation
            for inner in jaxprs_in_params(equation.params):
                yield from found(inner)

    return list(found(eqx.filter_make_jaxpr(fn)(*args)[0].jaxpr))


def on_devices(fn):
    mesh = jax.make_mesh((1,), ("devices",), axis_types=(AxisType.Auto,))
    spec = PartitionSpec("devices")
    return jax.shard_map(fn, mesh=mesh, in_specs=spec, out_specs=spec)


def named(x):
    with jax.named_scope("encoder"):
        return jnp.sin(x)


@jax.custom_vjp
def own_vjp(x):
    return named(x)


own_vjp.defvjp(lambda x: (named(x), x), lambda x, g: (named(x) * g,))

WRAPPERS = {
    "plain": named,
    "jit": jax.jit(named),
    "vmap": jax.vmap(named),
    "scan": lambda x: jax.lax.scan(lambda carry, row: (carry, named(row)), 0, x)[1],
    "while": lambda x: jax.lax.while_loop(lambda x: x[0, 0] < 0, named, x),
    "cond": lambda x: jax.lax.cond(x[0, 0] < 9, named, lambda x: x, x),
    "checkpoint": jax.checkpoint(named),
    "custom_vjp": own_vjp,
    "shard_map": on_devices(named),
    "derivative": jax.grad(lambda x: jnp.sum(named(x) ** 2)),
    "scan in shard_map": on_devices(
        lambda x: jax.lax.scan(lambda carry, row: (named(carry + row),) * 2, x[0], x)[1]
    ),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_names_and_source_lines_stay(name):
    fn = WRAPPERS[name]
    for transformed in (fn, unchanged(fn), unchanged(unchanged(fn))):
        (found, *_) = [e for e in equations(transformed, X) if e.primitive is sin_p]
        assert str(found.source_info.name_stack).count("encoder") == 1
        line = source_info_util.summarize(found.source_info)
        assert "test_rewrite.py" in line
        assert "(named)" in line
    np.testing.assert_array_equal(jax.jit(unchanged(fn))(X), jax.jit(fn)(X))


def test_names_of_calls_around_stay():
    outer = jax.named_scope("world_model")(jax.jit(named))
    (equation,) = equations(unchanged(outer), X)
    assert str(equation.source_info.name_stack) == "world_model/jit(named)/encoder"


@pytest.mark.parametrize(
    ("context", "name", "value"),
    [
        (partial(set_xla_metadata, place="a"), "xla_metadata", {"place": "a"}),
        (partial(compute_on, "device_host"), "compute_type", "device_host"),
        (partial(jax.threefry_partitionable, False), "threefry_partitionable", False),
    ],
)
def test_contexts_of_equations_stay(context, name, value):
    def fn(x):
        with context():
            y = jnp.sin(x)
        return jnp.cos(y)

    sine, cosine = equations(unchanged(fn), X)
    assert getattr(sine.ctx, name) == value
    assert getattr(cosine.ctx, name) != value


def test_what_a_rule_makes_stands_where_its_equation_stood():
    def rule(equation, inputs):
        return [jnp.cos(inputs[0])] if equation.primitive is sin_p else None

    (equation,) = equations(rewritten(named, rule), X)
    assert equation.primitive.name == "cos"
    assert "(named)" in source_info_util.summarize(equation.source_info)
    assert "encoder" in str(equation.source_info.name_stack)


def test_errors_lead_to_the_code_that_was_written():
    def rule(equation, inputs):
        raise ValueError("not in this form")

    with pytest.raises(ValueError, match="not in this form") as caught:
        rewritten(named, rule)(X)
    lines = "".join(traceback.format_exception(caught.value.__cause__))
    assert "return jnp.sin(x)" in lines


def test_products_summed_after_a_loop_have_the_names_of_those_in_it():
    def loss(weight, xs):
        def step(h, x):
            with jax.named_scope("recurrent"):
                h = jnp.tanh(h @ weight + x)
            return h, h

        return jnp.sum(jax.lax.scan(step, xs[0], xs)[1])

    fn = jax.grad(loss)
    xs = jnp.stack([X, X])
    (last,) = [
        e
        for e in equations(weight_gradients.sum_after_loops(fn), X, xs)
        if e.primitive is dot_general_p and e.invars[0].aval.shape == xs.shape
    ]
    assert "recurrent" in str(last.source_info.name_stack)
    assert "step)" in source_info_util.summarize(last.source_info)


def test_parts_on_devices_are_rewritten():
    fn = on_devices(lambda x: x @ jnp.ones((4, 4)) / 3)
    expected = np.asarray(X, jnp.bfloat16).astype(np.float64).sum(1) / 3
    actual = jax.jit(mixed(fn, on_cpu=jax.default_backend() == "cpu"))(X)
    np.testing.assert_allclose(actual[:, 0], expected, rtol=1e-5, atol=1e-6)
    assert np.max(np.abs(fn(X)[:, 0] - expected)) > 1e-4


def test_linear_solves_are_rewritten():
    def fn(x):
        return jax.lax.custom_linear_solve(lambda v: 2 * v, x, lambda _, b: b / 2, symmetric=True)

    np.testing.assert_array_equal(jax.jit(unchanged(fn))(X), X / 2)


def test_primitives_that_are_known_by_name_have_these_names():
    """JAX does not export them; by another name they would be passed over in silence."""
    names = lambda fn: [e.primitive.name for e in equations(fn, X)]  # noqa: E731
    assert names(on_devices(lambda x: x)) == [rewrite._SHARD_MAP]
    # The derivative of taking a batch apart.
    gradient = jax.grad(lambda x: sum(i * jnp.sum(x**i) for i, x in enumerate(jnp.unstack(x))))
    assert weight_gradients._STACK in names(gradient)


# In the agent, of which the world model is traced in half the time

WORLD_MODEL = dataclasses.replace(CONFIG, learn="world_model")
STATE = eqx.filter_eval_shape(agent.init, CONFIG, SHAPES, ACTION_SIZE, key=jr.key(0))
ARGUMENTS = (STATE, tiny_batch(), jr.key(0))


def compute(config, state, batch, key):
    (loss, _), grads = agent.loss_and_grads(state, batch, config=config, key=key)
    return loss, grads


@pytest.mark.slow
def test_all_rewriting_can_be_turned_off():
    def written(state, batch, key):
        loss = make_loss(WORLD_MODEL, state.slow_value, state.return_norm)
        compute = eqx.filter_value_and_grad(loss, has_aux=True)
        (loss, _), grads = compute(state.model, batch, update=state.update, key=key)
        return loss, grads

    off = dataclasses.replace(WORLD_MODEL, compute=ComputeConfig(rewrite=False))
    rewrite = (eqx.filter_make_jaxpr(fn)(*ARGUMENTS)[0] for fn in (partial(compute, off), written))
    assert len(set(map(str, rewrite))) == 1


def test_without_rewriting_there_is_no_mixed_precision(monkeypatch):
    monkeypatch.setattr("gpld.xla.choices._processor", lambda: "flags : avx512_bf16")
    off = ComputeConfig(rewrite=False)
    with pytest.raises(ValueError, match="`precision` must be float32, bfloat16 or auto without"):
        dataclasses.replace(CONFIG, precision="mixed", compute=off)
    auto = dataclasses.replace(CONFIG, precision="auto")
    assert agent.choices(auto).precision == (
        "mixed" if jax.default_backend() == "cpu" else "bfloat16"
    )
    assert agent.choices(dataclasses.replace(auto, compute=off)).precision != "mixed"


def test_a_run_does_not_go_on_when_it_is_rewritten_otherwise():
    """Its numbers would change by rounding. Older runs have no such setting, and were rewritten."""
    off = dataclasses.replace(CONFIG, compute=ComputeConfig(rewrite=False))
    stored = to_dict(CONFIG)
    del stored["compute"]["rewrite"]
    stored = flatten(from_dict(stored))
    assert differences(stored, flatten(CONFIG)) == []
    assert differences(stored, flatten(off)) == ["compute.rewrite is True there and False here"]


@pytest.mark.slow
def test_what_is_rewritten_of_the_agent_leads_to_its_code():
    found = equations(partial(compute, WORLD_MODEL), *ARGUMENTS)
    assert any(e.primitive.name == "optimization_barrier" for e in found)  # of `vectorised_sums`
    lines = {source_info_util.summarize(e.source_info) for e in found}
    assert any("rssm.py" in line for line in lines)
    assert not any("xla/rewrite.py" in line for line in lines)


def products(fn, *args):
    """Factors of products, and what those of float32 ask for."""
    found = [e for e in equations(fn, *args) if e.primitive is dot_general_p]
    dtypes = [e.invars[0].aval.dtype.name for e in found]
    asked = {e.params["precision"] for e in found if e.invars[0].aval.dtype == jnp.float32}
    return set(dtypes), asked


HIGHEST = (jax.lax.Precision.HIGHEST,) * 2


def act(state, key):
    memory, flags = agent.initial_policy_state(state.model, 1), jnp.zeros(1, bool)
    observation = {name: jnp.zeros((1, *shape)) for name, shape in SHAPES.items()}
    return agent.act(state.model, memory, observation, flags, flags, key=key)


@pytest.mark.parametrize(
    ("precision", "dtypes", "said"),
    [
        ("float32", {"float32"}, "in float32, with no factor rounded to TF32"),
        ("mixed", {"float32", "bfloat16"}, None),  # a few ask for all of float32 themselves
    ],
)
def test_products_of_float32_ask_a_gpu_for_all_of_it(precision, dtypes, said, monkeypatch):
    assert products(act, STATE, jr.key(0)) == ({"float32"}, {None})  # a CPU
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert products(act, STATE, jr.key(0)) == ({"float32"}, {HIGHEST})
    config = dataclasses.replace(WORLD_MODEL, precision=precision)
    assert products(partial(compute, config), *ARGUMENTS) == (dtypes, {HIGHEST})
    assert describe_products(agent.choices(config)) == said


def test_the_users_precision_of_products_stands(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with jax.default_matmul_precision("tensorfloat32"):
        (asked,) = products(act, STATE, jr.key(0))[1]
        assert asked != HIGHEST
        said = describe_products(agent.choices(CONFIG))
    assert said == "at the precision tensorfloat32, which JAX was told to take"
