"""Environments as users write them in a file: tests copy it and name what it makes."""

import dm_env
import gymnasium
import numpy as np
from dm_env import specs
from gymnasium import spaces


class Puck(gymnasium.Env):
    """A puck that is to be held near 0, and whose episode goes on where its state was saved."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Box(-1, 3, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.puck, self.time = self.np_random.uniform(-1, 1, 2).astype(np.float32), 0
        return self.puck, {}

    def step(self, action):
        at, velocity = self.puck
        velocity = 0.9 * velocity + action[0] / 10 + 0.1 * self.np_random.normal()
        self.puck = np.array([at + velocity, velocity], np.float32)
        self.time += 1
        gone = abs(self.puck[0]) > 2
        return self.puck, np.exp(-abs(self.puck[0])), gone, self.time == 25, {}

    def get_state(self):
        return {"puck": self.puck, "time": self.time}

    def set_state(self, state):
        self.puck, self.time = state["puck"], state["time"]


def make_env():
    return Puck()


class Catch(gymnasium.Env):
    """A ball that falls onto a bat, or beside it, as a picture with its channels first."""

    observation_space = spaces.Box(0, 255, (3, 16, 32), np.uint8)
    action_space = spaces.Discrete(3, start=-1)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.row, self.ball, self.bat = 0, self.np_random.integers(32), 16
        return self._draw(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.row, self.bat = self.row + 1, int(np.clip(self.bat + action, 0, 31))
        fallen = self.row == 15
        caught = 1 if abs(self.ball - self.bat) <= 1 else -1
        return self._draw(), caught if fallen else 0, fallen, False, {}

    def _draw(self):
        picture = np.zeros((3, 16, 32), np.uint8)
        picture[0, self.row, self.ball] = picture[1, 15, self.bat] = 255
        return picture


class Rooms(gymnasium.Env):
    """Observations in a nested dictionary, in float64, one of them under a name of ours."""

    observation_space = spaces.Dict(
        {
            "reward": spaces.Box(-np.inf, np.inf, (2,), np.float64),
            "house": spaces.Dict({"room": spaces.Discrete(3), "lamps": spaces.MultiBinary(4)}),
        }
    )
    action_space = spaces.Box(np.array([-2.0, 0.0]), np.array([1.0, 5.0]), dtype=np.float64)

    def __init__(self, length=25):
        self.length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.time = self.np_random.normal(size=2), 0
        return self._observe(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.at += action / 10
        self.time += 1
        far = min(abs(self.at[0]), 1.0)
        return self._observe(), -far, False, self.time == self.length, {"action": action}

    def _observe(self):
        house = {"room": self.time % 3, "lamps": self.np_random.integers(0, 2, 4, np.int8)}
        return {"reward": self.at, "house": house}


class Walk(dm_env.Environment):
    """Pays 1 for each of 20 steps, the last of which terminates every other episode."""

    num_episodes = 0

    def observation_spec(self):
        return specs.Array((2,), np.float64)

    def action_spec(self):
        return specs.BoundedArray((2,), np.float32, -1, 1)

    def reset(self):
        self.at, self.time = np.zeros(2), 0
        self.num_episodes += 1
        return dm_env.restart(self.at)

    def step(self, action):
        self.at, self.time = self.at + action, self.time + 1
        if self.time < 20:
            return dm_env.transition(1.0, self.at)
        end = dm_env.termination if self.num_episodes % 2 else dm_env.truncation
        return end(1.0, self.at)


def make_walk():
    return Walk()
