"""Generated spaces are taken or refused in one line; what is taken comes out as it went in."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings, strategies as st

from gpld.envs.adapters.adapter import Adapter
from gpld.envs.adapters.gymnasium_env import GymnasiumEnv
from gpld.errors import UsageError

SHAPES = st.lists(st.integers(0, 5), max_size=4).map(tuple)
FLOATS = st.sampled_from([np.float16, np.float32, np.float64])
INTEGERS = st.sampled_from([np.int8, np.uint8, np.int32, np.uint16, np.int64, bool])


@st.composite
def boxes(draw):
    shape = draw(SHAPES)
    if draw(st.booleans()):
        dtype = draw(FLOATS)
        low = draw(st.sampled_from([-np.inf, -1e4, -1.0, 0.0]))
        high = draw(st.sampled_from([0.5, 3.0, 1e4, np.inf]))
        return spaces.Box(low, high, shape, dtype)
    dtype = draw(INTEGERS)
    high = 1 if dtype is bool else min(np.iinfo(dtype).max, 2**40)
    return spaces.Box(0, high, shape, dtype)


PICTURES = st.builds(
    lambda shape, channels, first: spaces.Box(
        0, 255, (channels, *shape) if first else (*shape, channels), np.uint8
    ),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.integers(1, 5),
    st.booleans(),
)
DISCRETE = st.builds(
    lambda n, start: spaces.Discrete(n, start=start), st.integers(1, 2**33), st.integers(-5, 5)
)
OTHERS = st.one_of(
    st.lists(st.integers(1, 4), min_size=1, max_size=3).map(spaces.MultiDiscrete),
    st.integers(1, 4).map(spaces.MultiBinary),
    st.just(spaces.MultiBinary([2, 3])),
    st.just(spaces.Text(4)),
    st.just(spaces.Sequence(spaces.Discrete(2))),
)
LEAVES = st.one_of(boxes(), PICTURES, DISCRETE, OTHERS)
KEYS = st.sampled_from(["a", "b", "reward", "value", "a/b", "latent", "image", "is_first", ""])
SPACES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.dictionaries(KEYS, inner, min_size=1, max_size=3).map(spaces.Dict),
        st.lists(inner, min_size=1, max_size=3).map(spaces.Tuple),
    ),
    max_leaves=4,
)


class Sampling(gymnasium.Env):
    def __init__(self, observation_space, action_space):
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed=None, options=None):
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.action = action
        return self.observation_space.sample(), 1.0, False, False, {}


def leaves(space, value):
    """Numbers of an observation in the order of its space."""
    if isinstance(space, spaces.Dict):
        return [x for key, part in space.spaces.items() for x in leaves(part, value[key])]
    if isinstance(space, spaces.Tuple):
        return [x for part, own in zip(space.spaces, value, strict=True) for x in leaves(part, own)]
    start = getattr(space, "start", 0)
    with np.errstate(over="ignore"):
        return (np.asarray(value) - start).astype(np.float32).ravel().tolist()


def check(observation_space, action_space):
    own = Sampling(observation_space, action_space)
    refusal = None
    try:
        env = Adapter(GymnasiumEnv(own), seed=3)
    except UsageError as error:
        refusal = str(error)
    if refusal is not None:
        assert refusal.isprintable()
        return
    spec = env.spec
    rng = np.random.default_rng(0)
    for _ in range(3):
        if spec.discrete:
            action = rng.integers(min(spec.action_size, 2**31))
        else:
            action = rng.uniform(-1.2, 1.2, spec.action_size).astype(np.float32)
        timesteps = [env.reset(), env.step(action)]
        if isinstance(action_space, spaces.Box) and action_space.dtype.kind in "biu":
            fraction = (np.clip(action, -1, 1).reshape(action_space.shape) + np.float64(1)) / 2
            wanted = fraction * action_space.high.astype(np.float64)  # from 0
            assert (np.abs(own.action - wanted) <= 0.5 + 1e-6 * wanted).all()
        for timestep in timesteps:
            assert set(timestep.observation) == set(spec.observation)
            for name, array in timestep.observation.items():
                wanted = spec.observation[name]
                assert (array.shape, array.dtype) == (wanted.shape, wanted.dtype)
                assert len(array.shape) <= 3
                if wanted.num_classes is not None:
                    assert (array >= 0).all()
                    assert (array < wanted.num_classes).all()
    numbers = [x for array in env.reset().observation.values() for x in array.ravel().tolist()]
    # Once more, from the same random numbers.
    again = Adapter(GymnasiumEnv(own), seed=3)
    ours = [x for array in again.reset().observation.values() for x in array.ravel().tolist()]
    theirs = leaves(observation_space, own.reset(seed=3)[0])
    theirs = [float(np.float32(x)) for x in theirs]  # numbers of many classes are no classes
    assert sorted(ours) == sorted(theirs)
    assert len(numbers) == len(ours)


@settings(max_examples=25)
@given(SPACES, LEAVES)
def test_generated_spaces(observation_space, action_space):
    check(observation_space, action_space)


@settings(max_examples=200)
@given(SPACES, st.one_of(boxes(), DISCRETE))
@pytest.mark.exhaustive
def test_many_generated_spaces(observation_space, action_space):
    check(observation_space, action_space)
