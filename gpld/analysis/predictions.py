"""Pictures of what the world model predicts of stored sequences."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from matplotlib.figure import Figure

from ..errors import MachineError
from ..evaluation.video import write_video
from .pictures import save_picture
from .plain import plain

_SCALE = 2  # screen pixels per pixel of an image
_FPS = 10
_STEPS = 8  # pictures of a strip
_VECTORS = 12  # numbers that are plotted
_SEEN, _DREAMED = (46, 160, 67), (218, 54, 51)  # frames of pictures: green, red


def draw_predictions(
    path: Path,
    truth: Mapping[str, Shaped[np.ndarray, "sequence time ..."]],
    predicted: Mapping[str, Shaped[np.ndarray, "sequence time ..."]],
    num_seen: int,
) -> list[Path]:
    """Draws true and predicted observations side by side.

    Args:
        path: Folder and beginning of the names of the files; the folder is made.
        truth: Observations by name; images are uint8 with three axes of their own.
        predicted: Predictions of them; of images between 0 and 1.
        num_seen: Steps that the model has seen; it has dreamed the others.

    Returns:
        The files: of every image a video and a strip of pictures, in which truth, prediction
        and error are one above the other; of all vectors one plot.

    Raises:
        MachineError: If one cannot be written.
    """
    try:
        path.parent.mkdir(exist_ok=True)  # without parents: a run may have been moved away
    except OSError as error:
        raise MachineError(f"Cannot make {path.parent}: {error.strerror}.") from error
    images = [name for name, x in truth.items() if x.ndim == 5]
    files = []
    for name in images:
        rows = _rows(truth[name], predicted[name])
        video, strip = (path.with_name(f"{path.name}-{name}{end}") for end in (".mp4", ".png"))
        write_video(video, _frames(rows, num_seen), fps=_FPS)
        save_picture(_strip(rows, num_seen), strip)
        files += [video, strip]
    if vectors := {name: truth[name] for name in truth if name not in images}:
        plot = path.with_name(f"{path.name}-vectors.png")
        save_picture(_plot(vectors, predicted, num_seen), plot)
        files.append(plot)
    return files


def _rows(
    truth: UInt8[np.ndarray, "sequence time height width channels"],
    predicted: Float[np.ndarray, "sequence time height width channels"],
) -> UInt8[np.ndarray, "sequence time row height width 3"]:
    """Truth, prediction and error of every picture; no error is grey."""
    true = _colours(truth / 255)
    model = _colours(predicted)
    rows = np.stack([true, model, (model - true + 1) / 2], axis=2)
    return np.round(255 * np.clip(rows, 0, 1)).astype(np.uint8)


def _colours(images: Float[np.ndarray, "*batch channels"]) -> Float[np.ndarray, "*batch 3"]:
    """Three channels: the first three, or the only one as shades of grey."""
    return images[..., :3] if images.shape[-1] >= 3 else np.repeat(images[..., :1], 3, axis=-1)


def _frames(rows: UInt8[np.ndarray, "sequence time row height width 3"], num_seen: int):
    """One frame of the video for every step, with the sequences side by side."""
    for step in range(rows.shape[1]):
        columns = [_column(sequence[step], step < num_seen) for sequence in rows]
        yield np.concatenate(columns, axis=1)


def _column(
    rows: UInt8[np.ndarray, "row height width 3"], seen: bool
) -> UInt8[np.ndarray, "_ _ 3"]:
    """Pictures of one step, enlarged, in a frame that says whether the model saw it."""
    large = rows.repeat(_SCALE, axis=1).repeat(_SCALE, axis=2)
    framed = np.empty((len(large), large.shape[1] + 4, large.shape[2] + 4, 3), np.uint8)
    framed[:] = _SEEN if seen else _DREAMED
    framed[:, 2:-2, 2:-2] = large
    return framed.reshape(-1, *framed.shape[2:])


def _strip(rows: UInt8[np.ndarray, "sequence time row height width 3"], num_seen: int) -> Figure:
    """Some steps of the first sequence side by side, the last of them included."""
    steps = np.unique(np.linspace(0, rows.shape[1] - 1, _STEPS).round().astype(int))
    figure = Figure(figsize=(1.1 * len(steps) + 0.5, 4.3), layout="constrained")
    axes = figure.subplots(1, len(steps), squeeze=False)[0]
    for ax, step in zip(axes, steps, strict=True):
        ax.imshow(_column(rows[0, step], bool(step < num_seen)), interpolation="nearest")
        truth, model = rows[0, step, :2].astype(float)
        part = "seen" if step < num_seen else "dreamed"
        ax.set_title(f"{part}\nstep {step + 1}", fontsize="small")
        ax.set_xlabel(f"{np.abs(truth - model).mean() / 2.55:.1f} %", fontsize="small")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    height = _SCALE * rows.shape[3] + 4
    axes[0].set_yticks([height * (i + 0.5) for i in range(3)], ["truth", "model", "error"])
    axes[0].tick_params(length=0)
    figure.suptitle(
        f"the model sees {num_seen} steps (green) and dreams the others (red)", fontsize="medium"
    )
    figure.supxlabel("mean error of a colour, in % of the brightest", fontsize="medium")
    return figure


def _plot(
    truth: Mapping[str, Shaped[np.ndarray, "sequence time ..."]],
    predicted: Mapping[str, Shaped[np.ndarray, "sequence time ..."]],
    num_seen: int,
) -> Figure:
    """Numbers of the first sequence over time, some of every vector, and how far apart they are."""
    numbers = []
    share = max(1, _VECTORS // len(truth))
    for name, values in sorted(truth.items()):
        both = (np.asarray(own[0], np.float64) for own in (values, predicted[name]))
        x, y = (own.reshape(len(own), -1) for own in both)
        for i in range(min(share, x.shape[1])):
            numbers.append((name if x.shape[1] == 1 else f"{name}[{i}]", x[:, i], y[:, i]))
    columns = min(3, len(numbers))
    rows = -(-len(numbers) // columns)
    figure = Figure(figsize=(3 * columns, 1.7 * rows + 0.8), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for ax, (name, x, y) in zip(axes, numbers, strict=False):
        time = np.arange(1, len(x) + 1)
        ax.axvspan(0.5, num_seen + 0.5, color="0.9", linewidth=0, label="seen by the model")
        ax.axvline(num_seen + 0.5, color="0.5", linewidth=0.8, label="its dream begins")
        ax.plot(time, x, color="0.4", linewidth=2, label="truth")
        ax.plot(time, y, "--", color="C3", label="model")
        ax.fill_between(time, x, y, color="C3", alpha=0.2, linewidth=0)
        apart = np.sqrt(np.mean(np.square(x - y)[num_seen:]))
        ax.set_title(plain(f"{name}, error {apart:.2g}"), fontsize="small")
        ax.set_xlim(0.5, len(x) + 0.5)
        ax.tick_params(labelbottom=True, labelsize="small")
    for ax in axes[len(numbers) :]:
        ax.set_axis_off()
    shown = axes[0].get_legend_handles_labels()
    figure.legend(*shown, loc="outside upper center", ncols=min(4, 2 * columns), frameon=False)
    figure.supxlabel("step; error: root mean square over the dream", fontsize="medium")
    return figure
