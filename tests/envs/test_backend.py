import pytest

from gpld.envs import choose_backend
from gpld.envs.backend import check_implementation
from gpld.envs.probe import TASKS as PROBES
from gpld.envs.rewards import COVERED
from gpld.suite import TASKS


def test_auto_takes_batch_where_it_can():
    for task in TASKS:
        assert choose_backend(task) == ("batch" if task in COVERED else "dmc")
        assert choose_backend(task, observations="pixels") == "dmc"
        assert choose_backend(task, "dmc") == "dmc"
    assert choose_backend("cup_catch") == "batch"
    assert {choose_backend(task) for task in PROBES} == {"dmc"}


@pytest.mark.parametrize(
    ("task", "backend", "observations", "message"),
    [
        ("dog_run", "batch", "vectors", "must be auto or dmc for dog_run, got batch: it has no"),
        ("walker_run", "batch", "both", "for walker_run, got batch: it draws no pictures"),
        ("probe_memory", "batch", "vectors", "got batch: a probe is no task of MuJoCo"),
        ("walker_run", "mjx", "pixels", "must be auto or dmc for walker_run, got mjx: it draws"),
        ("dog_run", "mjx", "vectors", "got mjx: it has no definition of this task's"),
        ("walker_run", "bullet", "vectors", "one of auto, dmc, batch, mjx, got 'bullet'"),
    ],
)
def test_what_an_engine_cannot_step_is_refused(task, backend, observations, message):
    with pytest.raises(ValueError, match=message):
        choose_backend(task, backend, observations)


def test_an_unknown_implementation_is_named():
    check_implementation("mjx_impl", "warp")
    with pytest.raises(ValueError, match="`mjx_impl` must be one of jax, warp, got 'cuda'"):
        check_implementation("mjx_impl", "cuda")
