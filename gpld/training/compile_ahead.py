"""Compilation of the update in a thread, while the rest of a run starts."""

import contextlib
import threading
from collections.abc import Callable

import jax
import jax.random as jr
from jax.sharding import NamedSharding
from jaxtyping import PyTree

from .. import agent
from ..config import Config
from ..envs import EnvSpec
from ..parallel.seeds import SeedAxis
from .experience import step_specs, to_batch


class CompiledAhead(contextlib.AbstractContextManager):
    """A program that can be compiled in a thread; it is called as the program itself.

    A call waits for the thread, and so does the exit, since nothing can stop a compilation.
    """

    def __init__(self, program: jax.stages.Wrapped):
        """Take a program, what `jax.jit` returned, which nobody else calls."""
        self._program = program
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def begin(self, *args: PyTree) -> None:
        """Begin to compile.

        Args:
            *args: Shapes of the arguments of all calls, with their shardings.
        """
        thread = threading.Thread(target=self._compile, args=args, name="compile ahead")
        self._thread = thread
        thread.start()

    def __call__(self, *args: PyTree) -> PyTree:
        """Call the program."""
        self.__exit__()
        if self._error is not None:
            raise self._error
        return self._program(*args)

    def __exit__(self, *_: object) -> None:
        """Wait for the thread."""
        if self._thread is not None:
            self._thread.join()

    def _compile(self, *args: PyTree) -> None:
        try:
            # A call with such arguments finds what was compiled here.
            self._program.lower(*args).compile()
        except Exception as error:
            self._error = error


def update_arguments(config: Config, spec: EnvSpec, seeds: SeedAxis) -> tuple[PyTree, ...]:
    """Describe the arguments of `Programs.update`: state, batch and key of all agents.

    Args:
        config: Settings.
        spec: Shapes and sizes of the task.
        seeds: The axis along which agents are stacked.
    """
    state = agent.abstract_state(config, **spec.sizes)
    sequences, window = config.replay.batch_size, config.replay.batch_length + 1
    steps = {
        name: jax.ShapeDtypeStruct((sequences, window, *step.shape), step.dtype)
        for name, step in step_specs(config, spec).items()
    }
    batch = jax.eval_shape(lambda steps: to_batch(steps, spec), steps)
    key = jax.eval_shape(lambda: jr.key(0))
    placement, described = seeds.placement, _describer(seeds.size)
    return (
        described(state, placement.agents),
        described(batch, placement.batches),
        described(key, None),
    )


def _describer(size: int) -> Callable[[PyTree, NamedSharding | None], PyTree]:
    """Return a function that stacks the shapes of so many agents and places them."""
    axes = () if size == 1 else (size,)

    def described(tree: PyTree, sharding: NamedSharding | None) -> PyTree:
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(
                (*axes, *x.shape), x.dtype, sharding=sharding, weak_type=x.weak_type
            ),
            tree,
        )

    return described
