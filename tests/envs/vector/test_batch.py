"""`batch` against `dmc`: the same bits."""

import functools
import subprocess
import sys

import numpy as np
import pytest

from gpld.envs import env_seed, make_vector_env
from gpld.envs.dmc.env import DMControl
from gpld.envs.rewards import COVERED
from gpld.envs.vector.batch import BatchGroup
from gpld.envs.vector.group import EnvGroup
from gpld.envs.vector.vector import VectorEnv
from gpld.suite import TASKS

SEEDS = [11, 12]


def dmc_group(task, *, action_repeat=1, seeds=SEEDS):
    make = functools.partial(DMControl, task, action_repeat=action_repeat)
    return EnvGroup([make(seed=seed) for seed in seeds])


def batch_group(task, *, action_repeat=1, seeds=SEEDS, threads=2):
    return BatchGroup(task, seeds, action_repeat=action_repeat, threads=threads)


def actions_of(group, num_steps, seed=0):
    """Random ones, some beyond the limits."""
    rng = np.random.default_rng(seed)
    shape = (num_steps, group.num_envs, group.spec.action_size)
    return rng.uniform(-1.3, 1.3, shape).astype(np.float32)


def step(group, action, skip=(False, False)):
    group.send(action, np.array(skip))
    return group.recv()


def assert_same_bits(actual, expected):
    assert list(actual.observation) == list(expected.observation)
    for a, b in zip(
        (*actual.observation.values(), *actual[1:]),
        (*expected.observation.values(), *expected[1:]),
        strict=True,
    ):
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def put_out_of_phase(group, step_count):
    """Lets the episode of the second environment begin at a later step."""
    first, second = group.get_states()
    second["env"]["step_count"] = step_count
    group.set_states([first, second])


def cases():
    """Every task with an action repeat of 1 or 2: quick is one task of each domain.

    The other action repeat is run with the tests marked exhaustive.
    """
    of_domains = {TASKS[task][0]: task for task in COVERED}
    for index, task in enumerate(COVERED):
        mark = [] if task in of_domains.values() else pytest.mark.slow
        first = 1 + index % 2
        yield pytest.param(task, first, marks=mark)
        yield pytest.param(task, 3 - first, marks=pytest.mark.exhaustive)


@pytest.mark.parametrize(("task", "action_repeat"), list(cases()))
def test_whole_episodes_and_the_next(task, action_repeat):
    dmc, batch = (make(task, action_repeat=action_repeat) for make in (dmc_group, batch_group))
    assert batch.spec == dmc.spec
    num_steps = 1000 // action_repeat
    lasts = np.zeros(2)
    for index, action in enumerate(actions_of(dmc, num_steps + 5)):
        # The second one is reset in the course of the first one's episode; since it has an odd
        # number of control steps left, an action repeat is cut short at its end.
        if index == 3:
            for group in (dmc, batch):
                put_out_of_phase(group, 601)
        actual = step(batch, action)
        assert_same_bits(actual, step(dmc, action))
        assert actual.is_first[0] == (index in (0, num_steps + 1))
        lasts += actual.is_last
    assert lasts.tolist() == [1, 1]
    batch.close()
    dmc.close()


@pytest.mark.parametrize("threads", [1, 3])
def test_the_number_of_threads_changes_no_bit(threads):
    seeds = [1, 2, 3, 4, 5]
    one, other = (batch_group("hopper_hop", seeds=seeds, threads=n) for n in (2, threads))
    for action in actions_of(one, 60):
        assert_same_bits(
            *(step(group, action, skip=[False] * len(seeds)) for group in (other, one))
        )


# Each changes the model, or remembers, in another way.
@pytest.mark.parametrize(
    "task",
    [
        "cheetah_run",
        "finger_spin",
        "finger_turn_hard",
        "fish_swim",
        "point_mass_hard",
        "quadruped_walk",
        "reacher_easy",
        "swimmer_swimmer6",
    ],
)
@pytest.mark.parametrize("make_other", [batch_group, dmc_group])
def test_states_continue_in_both_engines(task, make_other):
    group = batch_group(task)
    for action in actions_of(group, 8):
        step(group, action)
    put_out_of_phase(group, 998)
    states = group.get_states()
    other = make_other(task, seeds=[21, 22])
    step(other, actions_of(other, 1)[0])
    actions = actions_of(group, 8, seed=1)
    expected = [step(group, action) for action in actions]
    assert sum(timestep.is_first[1] for timestep in expected) == 1
    for _ in range(2):
        other.set_states(states)
        for action, timestep in zip(actions, expected, strict=True):
            assert_same_bits(step(other, action), timestep)


@pytest.mark.parametrize("num_steps", [0, 1])
def test_states_of_dmc_continue_in_batch(num_steps):
    dmc, batch = dmc_group("finger_turn_easy"), batch_group("finger_turn_easy", seeds=[21, 22])
    for action in actions_of(dmc, num_steps):
        step(dmc, action)
    batch.set_states(dmc.get_states())
    for action in actions_of(dmc, 5):
        assert_same_bits(step(batch, action), step(dmc, action))


def test_states_share_no_memory_and_change_nothing_returned():
    group = batch_group("reacher_hard")
    actions = actions_of(group, 4)
    timesteps = [step(group, action) for action in actions[:2]]
    states, copies = group.get_states(), group.get_states()
    step(group, actions[2])
    np.testing.assert_equal(states, copies)
    observed = [timestep.observation["position"].copy() for timestep in timesteps]
    group.set_states(states)
    step(group, actions[3])
    for timestep, position in zip(timesteps, observed, strict=True):
        np.testing.assert_array_equal(timestep.observation["position"], position)


def test_a_state_of_another_task_is_refused():
    states = batch_group("walker_walk").get_states()
    with pytest.raises(ValueError, match="must be one of walker_run, got one of walker_walk"):
        batch_group("walker_run").set_states(states)


def diverge(group, velocity):
    """Gives the first environment a velocity that the simulator refuses."""
    if isinstance(group, EnvGroup):
        group._envs[0]._env.physics.data.qvel[1] = velocity
    else:
        group._physics.qvel[0, 1] = velocity


@pytest.mark.parametrize("action_repeat", [1, 3])
@pytest.mark.parametrize("velocity", [4e11, np.inf, np.nan])
def test_divergence_truncates_alike(velocity, action_repeat, capfd):
    dmc, batch = (
        make("walker_walk", action_repeat=action_repeat) for make in (dmc_group, batch_group)
    )
    for index, action in enumerate(actions_of(dmc, 12)):
        # Twice: MuJoCo counts what it warns of, and starts again when it resets itself.
        if index in (4, 8):
            for group in (dmc, batch):
                diverge(group, velocity)
        actual = step(batch, action)
        assert_same_bits(actual, step(dmc, action))
        assert actual.is_last.tolist() == [index in (4, 8), False]
        assert not actual.is_terminal.any()
    assert capfd.readouterr() == ("", "")


def test_divergence_of_its_own_ends_episodes_alike():
    """At 1,000 m/s the walker falls apart after a while."""
    dmc, batch = dmc_group("walker_walk"), batch_group("walker_walk")
    for action in actions_of(dmc, 3):
        for group in (dmc, batch):
            step(group, action)
    for group in (dmc, batch):
        first, second = group.get_states()
        first["env"]["physics"][11] = 1e3  # after the time and nine positions, rootz
        group.set_states([first, second])
    lasts = 0
    for action in actions_of(dmc, 60, seed=1):
        actual = step(batch, action)
        assert_same_bits(actual, step(dmc, action))
        lasts += actual.is_last[0]
    assert lasts == 1


@pytest.mark.parametrize("distance", [0.5, 9.5, 10.5, 19.5])
def test_divergence_is_noticed_at_the_same_substep(distance):
    """So far before the limit of positions is the walker, in substeps of 2.5 ms."""
    dmc, batch = dmc_group("walker_walk"), batch_group("walker_walk")
    for action in actions_of(dmc, 2):
        for group in (dmc, batch):
            step(group, action)
    for group in (dmc, batch):
        first, second = group.get_states()
        physics = first["env"]["physics"]
        physics[1:4] = 1, 1e10 - distance * 2.5e6, 0  # rootz, rootx, rooty
        physics[10:19] = 0
        physics[11] = 1e9
        group.set_states([first, second])
    lasts = []
    for action in actions_of(dmc, 3, seed=1):
        actual = step(batch, 0 * action)
        assert_same_bits(actual, step(dmc, 0 * action))
        lasts.append(bool(actual.is_last[0]))
        if lasts[-1]:
            break
    assert len(lasts) == 1 + int(distance // 10)


def test_skipped_environments_are_left_alone_and_reset_next():
    dmc, batch = dmc_group("cartpole_swingup"), batch_group("cartpole_swingup")
    skips = [(False, False), (False, False), (True, False), (False, True), (True, True)]
    for action, skip in zip(actions_of(dmc, 10), 2 * skips, strict=True):
        assert_same_bits(step(batch, action, skip), step(dmc, action, skip))


def test_actions_must_be_finite_but_where_none_is_heeded():
    group = batch_group("cartpole_swingup")
    nan = np.full((2, 1), np.nan, np.float32)
    step(group, nan)  # resets
    with pytest.raises(ValueError, match=r"`action` must be finite, got \[nan\]"):
        step(group, nan)
    group.send(nan, np.zeros(2, bool))
    group.start()
    with pytest.raises(ValueError, match=r"`action` must be finite, got \[nan\]"):
        group.recv()
    assert step(group, 0 * actions_of(group, 1)[0]).is_last.tolist() == [False, False]


def test_a_thread_steps_while_the_caller_goes_on():
    with make_vector_env("hopper_hop", num_envs=3, seed=0, backend="batch") as env:
        with make_vector_env("hopper_hop", num_envs=3, seed=0, backend="dmc") as expected:
            for action in actions_of(env, 30):
                env.send(action)
                sent, action[:] = action.copy(), np.nan  # the caller's own again
                env.wait()
                assert_same_bits(env.recv(), expected.step(sent))
        env.send(actions_of(env, 1)[0])  # closed while it steps


def test_a_step_that_is_waited_for_wakes_no_thread(monkeypatch):
    with make_vector_env("cartpole_swingup", num_envs=1, seed=0, backend="batch") as env:
        [group] = env._groups
        monkeypatch.setattr(group, "start", None)
        env.step(np.zeros((1, 1), np.float32))
        assert not group._thread._threads


def test_observations_are_those_of_the_spec():
    for task in ("acrobot_swingup", "humanoid_walk"):
        group = batch_group(task)
        timestep = step(group, actions_of(group, 1)[0])
        for key, (shape, dtype, _) in group.spec.observation.items():
            value = timestep.observation[key]
            assert (value.shape, value.dtype) == ((2, *shape), dtype)


def test_seeds_are_those_of_dmc():
    seeds = [env_seed(5, i) for i in range(2)]
    with make_vector_env("finger_turn_hard", num_envs=2, seed=5, workers=4) as env:
        assert isinstance(env._groups[0], BatchGroup)
        expected = VectorEnv([dmc_group("finger_turn_hard", seeds=seeds)])
        for action in actions_of(env, 3):
            assert_same_bits(env.step(action), expected.step(action))


def test_neither_engine_imports_mjx_or_jax():
    code = """
import sys
from gpld.envs import make_vector_env
import numpy as np
for backend in ("dmc", "batch"):
    with make_vector_env("pendulum_swingup", num_envs=1, seed=0, backend=backend) as env:
        env.step(np.zeros((1, 1), np.float32))
print([name for name in ("jax", "mujoco.mjx") if name in sys.modules])
"""
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]"
