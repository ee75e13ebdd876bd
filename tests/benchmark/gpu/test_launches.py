"""Launches of small programs of known count."""

import jax
import jax.numpy as jnp
import pytest

from gpld.benchmark.gpu.launches import Loop, count_launches

# Two fusions and a copy; a loop of 3 rounds of 2, in which one of unknown length runs 1 and asks 1.
_NESTED = """HloModule jit_f, is_scheduled=true

%fused (p: f32[2]) -> f32[2] {
  %p = f32[2]{0} parameter(0)
  ROOT %add = f32[2]{0} add(%p, %p)
}

%inner (state: (s32[], f32[2])) -> (s32[], f32[2]) {
  %state = (s32[], f32[2]{0}) parameter(0)
  %x = f32[2]{0} get-tuple-element(%state), index=1
  %fusion.1 = f32[2]{0} fusion(%x), kind=kLoop, calls=%fused
  ROOT %t = (s32[], f32[2]{0}) tuple(%state, %fusion.1)
}

%asks (state: (s32[], f32[2])) -> pred[] {
  %state = (s32[], f32[2]{0}) parameter(0)
  ROOT %fusion.2 = pred[] fusion(%state), kind=kLoop, calls=%fused
}

%outer (state: (s32[], f32[2])) -> (s32[], f32[2]) {
  %state = (s32[], /*index=1*/f32[2]{0}) parameter(0)
  %while.1 = (s32[], /*index=1*/f32[2]{0}) while(%state), condition=%asks, body=%inner
  %x = f32[2]{0} get-tuple-element(%while.1), index=1
  %fusion.3 = f32[2]{0} fusion(%x), kind=kInput, calls=%fused
  %product = (f32[2]{0}, s8[64]{0}) custom-call(%fusion.3), custom_call_target="__cublas$lt$matmul"
  ROOT %t = (s32[], f32[2]{0}) tuple(%x, %product)
}

%ask (state: (s32[], f32[2])) -> pred[] {
  %state = (s32[], f32[2]{0}) parameter(0)
  ROOT %fusion.4 = pred[] fusion(%state), kind=kLoop, calls=%fused
}

ENTRY %main.3 (a: f32[2]) -> f32[2] {
  %a = f32[2]{0} parameter(0)
  %constant = s32[] constant(0)
  %copy.1 = f32[2]{0} copy(%a)
  %fusion.5 = f32[2] fusion(%copy.1), kind=kCustom, calls=%fused, backend_config={"kind":"__triton"}
  %start = ((f32[2]{0}), f32[2]{0}) all-reduce-start(%fusion.5), to_apply=%fused
  %done = f32[2]{0} all-reduce-done(%start)
  %t = (s32[], f32[2]{0}) tuple(%constant, %done)
  %while.2 = f32[2] while(%t), condition=%ask, body=%outer, known={"known_trip_count":{"n":"3"}}
  ROOT %y = f32[2]{0} get-tuple-element(%while.2), index=1
}
"""

_BRANCHES = """HloModule jit_f, is_scheduled=true

%first (p: f32[2]) -> f32[2] {
  %p = f32[2]{0} parameter(0)
  %copy.1 = f32[2]{0} copy(%p)
  ROOT %copy.2 = f32[2]{0} copy(%copy.1)
}

%one (p: f32[2]) -> f32[2] {
  %p = f32[2]{0} parameter(0)
  ROOT %copy.3 = f32[2]{0} copy(%p)
}

ENTRY %main (a: f32[2], which: s32[]) -> f32[2] {
  %a = f32[2]{0} parameter(0)
  %which = s32[] parameter(1)
  %call = f32[2]{0} call(%a), to_apply=%first
  %copy.4 = f32[2]{0} copy(%call)
  ROOT %chosen = f32[2]{0} conditional(%which, %copy.4, %copy.4), branch_computations={%one, %one}
}
"""


def test_loops_count_as_often_as_they_go_round():
    launches = count_launches(_NESTED)
    # Outside: copy, fusion, all-reduce. Three rounds of 2, with body and condition of the other.
    assert launches.total == 3 + 3 * 2 + 3 * 2
    assert launches.kinds == {
        "copy": 1,
        "fusion __triton": 1,
        "all-reduce-start": 1,
        "fusion kInput": 3,
        "__cublas$lt$matmul": 3,
        "fusion kLoop": 6,
    }
    assert launches.loops == [
        Loop("while.2", trips=3, entered=1, launches=2),
        Loop("while.2/while.1", trips=None, entered=3, launches=2),
    ]


def test_all_branches_count():
    assert count_launches(_BRANCHES).total == 2 + 1 + 2


def test_the_trips_of_a_compiled_scan_are_found():
    def program(x):
        return jax.lax.scan(lambda x, _: (jnp.sin(x) @ x, None), x, length=7)[0]

    compiled = jax.jit(program).lower(jnp.ones((128, 128))).compile()
    (loop,) = count_launches(compiled.as_text()).loops
    assert (loop.trips, loop.entered) == (7, 1)


def test_text_that_is_no_module_is_refused():
    with pytest.raises(ValueError, match="`text` must be a module of HLO"):
        count_launches("nothing")
