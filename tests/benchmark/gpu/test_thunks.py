"""Launches by the host, counted in lists of thunks as XLA writes them."""

import pytest

from gpld.benchmark.gpu.launches import Loop
from gpld.benchmark.gpu.thunks import count_host_work, read_thunks

THUNKS = """\
000: kCommandBuffer [source | next=005 (1)]
    001: kCustomKernel [source | sink] loop_add_fusion grid: [1, 1, 1]
    002: kWhile        [source | sink]
    condition:
        003: kCustomKernel [source | sink] loop_compare_fusion
      body:
        004: kCustomKernel [source | sink] loop_add_fusion
005: kWhile [prev=000 (1) | next=012 (1)]
condition:
    006: kCustomKernel [source | sink] loop_compare_fusion
  body:
    000: kCommandBuffer [source | sink]
        007: kCustomKernel [source | sink] loop_add_fusion_1
        008: kGemm         [source | sink]
    009: kDynamicSliceFusion [source | sink] params=1, results=1
        010: kCopy [source | sink] kCopy
011: kConditional [source | sink]
  branch_0:
    012: kCustomKernel [source | sink] loop_add_fusion_2
013: kCopy [source | sink] kCopy
"""
CAPTURED, KNOWN = Loop("while.1", 7, 1, 1), Loop("while.2", 25, 1, 4)


def test_a_buffer_starts_as_one_and_so_does_what_it_holds():
    # A buffer; in each round a buffer and a fusion; a branch; a copy.
    assert count_host_work(THUNKS, [CAPTURED, KNOWN]).started == 1 + 25 * 2 + 1 + 1


def test_a_loop_of_unknown_length_counts_one_round_and_its_condition():
    unknown = KNOWN._replace(trips=None)
    assert count_host_work(THUNKS, [CAPTURED, unknown]).started == 1 + 3 + 1 + 1


@pytest.mark.parametrize(
    ("trips", "reads"), [((7, 25), 1), ((7, None), 2), ((None, 25), 1), ((None, None), 2)]
)
def test_the_host_reads_of_loops_and_branches_outside_of_buffers(trips, reads):
    """The branch is one; of the loops it is the second, if its trips are not known."""
    loops = [own._replace(trips=n) for own, n in zip((CAPTURED, KNOWN), trips, strict=True)]
    assert count_host_work(THUNKS, loops).reads == reads


def test_a_branch_in_a_buffer_is_decided_by_the_card():
    captured = "\n".join("    " + line for line in THUNKS.splitlines() if line[:3] >= "011")
    assert count_host_work("000: kCommandBuffer [source | sink]\n" + captured, []) == (1, 0)


def test_a_loop_that_the_host_decides_about_counts_in_each_round_of_that_around_it():
    nested = """\
000: kWhile [source | sink]
condition:
    001: kCustomKernel [source | sink] loop_compare_fusion
  body:
    002: kWhile [source | sink]
    condition:
        003: kCustomKernel [source | sink] loop_compare_fusion
      body:
        004: kCustomKernel [source | sink] loop_add_fusion
"""
    loops = [Loop("while.1", 4, 1, 0), Loop("while.1/while.2", None, 4, 1)]
    assert count_host_work(nested, loops) == (4 * 2, 4)


@pytest.mark.parametrize("loops", [[CAPTURED], [CAPTURED, KNOWN, KNOWN]])
def test_loops_of_another_program_are_refused(loops):
    with pytest.raises(ValueError, match=r"`thunks` has (more|fewer) loops"):
        count_host_work(THUNKS, loops)


def test_the_longest_list_of_a_dump_is_that_of_the_program(tmp_path):
    assert read_thunks(tmp_path) is None
    name = "module_{}.thunk_sequence_after_thunk_passes.txt"
    (tmp_path / name.format(0)).write_text(THUNKS)
    (tmp_path / name.format(1)).write_text("000: kCopy")
    assert read_thunks(tmp_path) == THUNKS
