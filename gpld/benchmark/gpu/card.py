"""A described NVIDIA GPU: XLA compiles for it on a machine that has none."""

import importlib.util
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh

from ...errors import MachineError
from .launches import Launches, count_launches
from .thunks import DUMP_FLAGS, count_host_work, read_thunks

CARD = "NVIDIA H100 SXM"
_DESCRIPTION = Path(__file__).with_name("h100_sxm.txtpb")

XLA_FLAGS = ("--xla_gpu_enable_cub_radix_sort=false",)
"""What XLA needs in order to compile for a GPU that is not there: the scratch memory of the
library's sort is asked of the card."""


class Compiled(NamedTuple):
    """Facts of a program that was compiled and cannot run here."""

    launches: Launches
    started: int | None
    """Launches by the host in one call, CUDA graphs each as one; None if XLA does not tell."""

    host_reads: int | None
    """Loops and branches that the host decides about, as often as they are entered; None as
    above."""

    temporaries: int
    """Bytes beside arguments and results."""

    arguments: int
    results: int
    aliased: int
    """Bytes of results that take the place of donated arguments."""

    trace_seconds: float
    compile_seconds: float


def check_plugin() -> None:
    """Check that JAX's CUDA plugin is installed.

    Raises:
        MachineError: If it is not.
    """
    if not any(importlib.util.find_spec(f"jax_cuda{version}_plugin") for version in (12, 13)):
        raise MachineError(
            "`gpu-program` needs JAX's CUDA plugin, though no GPU: `pip install 'gpld[cuda12]'`, "
            "or '.[cuda12]' in a checkout."
        )


def described_mesh(count: int) -> Mesh:
    """Return so many described cards, along the axis `devices`."""
    topology = topologies.get_topology_desc(
        platform="cuda", target_config=_DESCRIPTION.read_text(), topology=f"1x1x{count}"
    )
    return Mesh(np.asarray(topology.devices), ("devices",))


def compile_for_card(function: jax.stages.Wrapped, args: Any) -> Compiled:
    """Compile a jitted function for described cards.

    Args:
        function: What `jax.jit` returns.
        args: Arguments as `jax.ShapeDtypeStruct` with shardings on a described card.
    """
    began = time.perf_counter()
    lowered = function.lower(*args)
    traced = time.perf_counter()
    with tempfile.TemporaryDirectory() as dump:
        compiled = lowered.compile({"xla_dump_to": dump, **DUMP_FLAGS})
        ended = time.perf_counter()
        thunks = read_thunks(Path(dump))
    text, memory = compiled.as_text(), compiled.memory_analysis()
    assert text is not None  # which GPU programs have
    assert memory is not None
    launches = count_launches(text)
    host = None if thunks is None else count_host_work(thunks, launches.loops)
    return Compiled(
        launches=launches,
        started=host and host.started,
        host_reads=host and host.reads,
        temporaries=memory.temp_size_in_bytes,
        arguments=memory.argument_size_in_bytes,
        results=memory.output_size_in_bytes,
        aliased=memory.alias_size_in_bytes,
        trace_seconds=traced - began,
        compile_seconds=ended - traced,
    )
