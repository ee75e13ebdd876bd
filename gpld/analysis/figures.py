"""Pictures of runs."""

from matplotlib.figure import Figure

from ..run_folder import RunFolder


def learning_curve(folder: RunFolder) -> None:
    """Draws returns over env steps into the run folder.

    Dots are training episodes; the line is the mean of each evaluation, in the band of its
    lowest and highest episode. Nothing is smoothed.
    """
    config = folder.config()
    episodes, evaluations = folder.read("episodes"), folder.read("scores")
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(
        [line["env_step"] for line in episodes],
        [line["score"] for line in episodes],
        ".",
        color="0.7",
        label="training episodes",
    )
    steps = [line["env_step"] for line in evaluations]
    axes.plot(
        steps,
        [line["mean"] for line in evaluations],
        "o-",
        color="C0",
        label=f"evaluation, mean of {config.evaluation.episodes}",
    )
    axes.fill_between(
        steps,
        [min(line["scores"]) for line in evaluations],
        [max(line["scores"]) for line in evaluations],
        color="C0",
        alpha=0.2,
        linewidth=0,
    )
    penalty = ", ".join(f"{k} {v:g}" for k, v in config.gpld.coefficients.items())
    axes.set(
        title=f"{config.task}, preset {config.preset}, {penalty or 'no penalty'}, "
        f"seed {config.seed}",
        xlabel=f"env steps (x {config.env.action_repeat} = frames)",
        ylabel="return of an episode",
    )
    axes.title.set_fontsize("medium")
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(folder.learning_curve, dpi=120)
