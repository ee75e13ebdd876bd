"""Videos of environments of one's own, which draw themselves."""

import numpy as np
import pytest

import gpld
from gpld.envs import env_seed, make_vector_env, own
from gpld.envs.dmc.drawing import Drawing, OwnRepetition, can_draw
from gpld.errors import UsageError
from gpld.evaluation.video import FirstEpisode, record_video

FILE = '''
import gymnasium
import numpy as np
from gymnasium import spaces


class Lamp(gymnasium.Env):
    """Shows how bright it is, of which its start is drawn."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}
    observation_space = spaces.Box(0, 1, (1,))
    action_space = spaces.Box(0, 1, (1,))

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.light, self.time = self.np_random.uniform(), 0
        return np.full(1, self.light), {}

    def step(self, action):
        self.light = (self.light + action.item()) / 2
        self.time += 1
        return np.full(1, self.light), self.light, False, self.time == 6, {}

    def render(self):
        return np.full((24, 40, 3), int(255 * self.light), np.uint8)
'''


@pytest.fixture
def lamp(tmp_path, monkeypatch):
    monkeypatch.setattr(own, "_allowed", set())
    (tmp_path / "lamp.py").write_text(FILE)
    gpld.register(task := f"{tmp_path / 'lamp.py'}:Lamp")
    return task


def episode(task, **options):
    first = FirstEpisode()
    with make_vector_env(task, num_envs=2, seed=4, **options) as envs:
        action = np.zeros((2, 1), np.float32)
        for answer in np.random.default_rng(0).uniform(-1, 1, (9, 2, 1)).astype(np.float32):
            first(envs.step(action), answer)
            action = answer
    return first


def test_a_video_repeats_the_episode(lamp, tmp_path):
    kwargs = {"render_mode": "rgb_array"}
    first = episode(lamp, action_repeat=2, kwargs=kwargs)
    where = {"task": lamp, "seed": 4, "action_repeat": 2, "kwargs": kwargs}
    video = record_video(tmp_path / "lamp.mp4", first, **where)
    assert (video.frames, video.fps, video.score) == (4, 10, first.score)
    assert (tmp_path / "lamp.mp4").stat().st_size > 0

    factory = own.own_factory(
        lamp,
        kwargs=kwargs,
        action_repeat=2,
        observations="both",
        image_size=None,
        episode_steps=None,
    )
    drawn = OwnRepetition(lamp, factory, env_seed(4, 0), first.actions, first.score)
    with Drawing(drawn) as drawing:
        pictures = list(drawing)
    assert [picture.shape for picture in pictures] == [(24, 40, 3)] * 4
    env = gpld.make_env(lamp, seed=env_seed(4, 0), action_repeat=2)
    lights = [env.reset(), *map(env.step, first.actions)]
    expected = [int(255 * step.observation["observation"].item()) for step in lights]
    assert [picture[0, 0, 0] for picture in pictures] == expected


def test_one_that_draws_nothing_says_what_may_help(lamp, tmp_path):
    first = episode(lamp)
    with pytest.raises(UsageError, match=r"no pictures without the `render_mode` rgb_array, but"):
        record_video(tmp_path / "lamp.mp4", first, task=lamp, seed=4)
    assert not (tmp_path / "lamp.mp4").exists()


def test_what_no_process_can_make_is_not_drawn(monkeypatch):
    monkeypatch.setattr(own, "_registered", {})
    gpld.register("mine", lambda: None)
    assert not can_draw("mine")
    assert can_draw("gymnasium:Hopper-v5")
