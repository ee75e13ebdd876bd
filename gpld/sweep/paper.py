"""Tables and figures of the paper as sweeps, and choices where it leaves something open."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..analysis.published import paper_table1, paper_table3
from ..analysis.published.costs import TABLE4
from .spec import Sweep

Settings = Mapping[str, Any]

_CHOICES = (
    "Penalty: mean over the sampled states (Algorithm 1); the released code's is rho smaller.",
    "The coefficient falls to 0.001, as the paper says twice; the released scripts stop at 0.1.",
    "The paper's environment steps are taken as frames (1M: 500,000 env steps at action repeat 2), "
    "as its logs count.",
    "Standard deviations are of the population (division by n), as in the published code.",
    "Every evaluation is the mean of all its episodes; the released code keeps the last of four.",
)

_NO_SETTINGS: Settings = {}
_ARMS: Mapping[str, Settings] = {"DreamerV3": {"gpld.lambda0": 0.0}, "GPLD": {}}
_LEARNT_FIRST = ("cartpole_swingup", "walker_stand", "reacher_easy")


class Scale(NamedTuple):
    """A smaller experiment of the same form."""

    preset: str
    tasks: int
    seeds: int
    env_steps: int
    evaluation_episodes: int
    every: int
    """Env steps between evaluations."""


SCALES: Mapping[str, Scale] = {
    "small": Scale("small", 3, 3, 30_000, 20, 2_000),
    "tiny": Scale("debug", 2, 2, 400, 1, 200),
}


class Experiment(NamedTuple):
    """Runs for a table or figure of the paper."""

    title: str
    tasks: Sequence[str]
    arms: Mapping[str, Settings] = _ARMS
    env_steps: int = 500_000
    settings: Settings = _NO_SETTINGS
    """Others of all arms, over the preset `paper`."""

    seeds: int = 5
    evaluation_episodes: int = 0
    """Of the last agent; 0 takes the evaluations of training."""

    choices: Sequence[str] = ()
    """What was decided where the paper or its code leave it open."""

    warm_start: bool = False
    """Whether encoder and decoder are those of a finished run of DreamerV3 (appendix D.2)."""

    preset: str = "paper"

    @property
    def source(self) -> Literal["training", "checkpoints"]:
        """Evaluations that its scores are of."""
        return "checkpoints" if self.evaluation_episodes else "training"

    def scaled(self, scale: Scale) -> "Experiment":
        """Return the same with fewer tasks, seeds, env steps and episodes, from another preset."""
        first = [task for task in _LEARNT_FIRST if task in self.tasks]
        tasks = [*first, *(task for task in self.tasks if task not in first)][: scale.tasks]
        return self._replace(
            tasks=tasks,
            env_steps=scale.env_steps,
            settings={**self.settings, "evaluation.every": scale.every},
            seeds=min(self.seeds, scale.seeds),
            evaluation_episodes=min(self.evaluation_episodes, scale.evaluation_episodes),
            preset=scale.preset,
        )

    def stamp(self, full: "Experiment", name: str) -> str:
        """Return the line that says, on everything made of it, how it is less than the paper's."""
        return (
            f"SCALED DOWN ({name}): preset {self.preset} instead of {full.preset}; "
            f"{len(self.tasks)} of {len(full.tasks)} tasks; {self.seeds} of {full.seeds} seeds; "
            f"{self.env_steps:,} of {full.env_steps:,} env steps. "
            "The paper's numbers cannot be expected from it."
        )

    def stages(self, root: Path) -> list[tuple[Path, Sweep]]:
        """Return sweeps with their folders; each needs those before it, the last is reported on."""
        if not self.warm_start:
            return [(root / "runs", self._sweep(self.tasks))]
        baseline = {"DreamerV3": _ARMS["DreamerV3"]}
        donors = self._replace(arms=baseline, seeds=1, evaluation_episodes=0)
        stages = [(root / "donors", donors._sweep(self.tasks))]
        for task in self.tasks:
            donor = str(root / "donors" / "DreamerV3" / task / "seed0")
            warm = self._replace(settings={**self.settings, "init.from": donor})
            stages.append((root / "runs" / task, warm._sweep([task])))
        return stages

    def _sweep(self, tasks: Sequence[str]) -> Sweep:
        return Sweep(
            tasks=tasks,
            arms=self.arms,
            seeds=list(range(self.seeds)),
            preset=self.preset,
            settings={"env_steps": self.env_steps, **self.settings},
            evaluation_episodes=self.evaluation_episodes,
        )


def _ablations() -> dict[str, Settings]:
    """Return the arms of figure 5: rows of table 4, the baseline, and a coefficient that stays."""
    arms: dict[str, Settings] = {"DreamerV3": _ARMS["DreamerV3"]}
    for row in TABLE4:
        arms[row.name] = {f"gpld.{name}": value for name, value in row.penalty.items()}
    arms["no decay"] = {"gpld.schedule.kind": "none"}
    return arms


_TABLE3 = list(paper_table3()["GPLD"])
_PIXELS = ["hopper_hop", "quadruped_walk"]
_VISION = {"env.observations": "pixels"}
_PIXEL_CHOICES = (
    "Tasks from pictures: those that the paper's text names, hopper_hop and quadruped_walk.",
)

EXPERIMENTS: Mapping[str, Experiment] = {
    "table1": Experiment(
        "Table 1: six locomotion tasks at 1M frames",
        list(paper_table1()["GPLD"]),
        evaluation_episodes=20,
    ),
    "table3": Experiment(
        "Table 3: 18 tasks at 1M frames, 20 episodes of the last checkpoint",
        _TABLE3,
        evaluation_episodes=20,
    ),
    "figure2": Experiment(
        "Figure 2: normalised return over all tasks",
        _TABLE3,
        choices=("Whether the aggregate has the quadruped is not said: it is left out, as in "
                 "table 3.",),
    ),
    "figure3": Experiment(
        "Figure 3: the quadruped, 4M frames",
        ["quadruped_walk", "quadruped_run"],
        env_steps=2_000_000,
    ),
    "figure4": Experiment(
        "Figure 4: from pictures", _PIXELS, settings=_VISION, choices=_PIXEL_CHOICES
    ),
    "figure5": Experiment(
        "Figure 5: ablations of share, coefficients, target and schedule",
        ["hopper_hop", "walker_run"],
        _ablations(),
        env_steps=250_000,
        choices=(
            "Tasks, seeds and length are not said: hopper_hop and walker_run, five seeds, 500k "
            "frames as in table 4. The values of the grid are the rows of table 4.",
            "With the mean over sampled states the share changes the spread of the penalty and "
            "not its strength; in the released code it changes both.",
        ),
    ),
    "figure6": Experiment(
        "Figure 6: curves of all tasks, 2M frames", _TABLE3, env_steps=1_000_000
    ),
    "figure7": Experiment(
        "Figure 7: curves from pictures, 2M frames",
        _PIXELS,
        env_steps=1_000_000,
        settings=_VISION,
        choices=(*_PIXEL_CHOICES, "The length is not said: that of figure 6."),
    ),
    "figure8": Experiment(
        "Figure 8: encoder and decoder of a trained DreamerV3",
        _PIXELS,
        settings=_VISION,
        choices=(
            "Encoder and decoder of both arms and all seeds are those of one run of DreamerV3, "
            "seed 0, at the end of its training; everything else begins anew, nothing is frozen.",
        ),
        warm_start=True,
    ),
    "figure9": Experiment(
        "Figure 9: sensitivity of prior and posterior",
        ["walker_walk", "hopper_stand"],
        choices=(
            "Perturbations as in the text, 0.1 % to 10 % of the mean norm, KL divided by theirs; "
            "the released code has 0.01 % to 1 % and does not divide.",
        ),
    ),
}  # fmt: skip
"""By the name in the paper; table 4 is a benchmark and no sweep."""


def choices(experiment: Experiment) -> list[str]:
    """Return everything that was decided where the paper or its code leave it open."""
    return [*experiment.choices, *_CHOICES]
