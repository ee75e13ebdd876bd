"""Trees come back from a file as they were, and nothing in one can run."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as npst

from gpld.checkpoints import tree_file

DTYPES = st.sampled_from(["bool", "uint8", "int32", "int64", "uint32", "float32", "float64"])
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()  # of any size: random generators have 128 bits
    | st.floats(allow_nan=False)
    | st.text()
    | DTYPES.flatmap(lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0)))
)
TREES = st.dictionaries(
    st.text(),
    st.recursive(
        LEAVES, lambda tree: st.lists(tree) | st.dictionaries(st.text(), tree), max_leaves=10
    ),
)


def _same(a, b):
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        return all(_same(a[name], b[name]) for name in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, np.ndarray):
        return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    return a == b


@given(TREES)
def test_a_tree_comes_back(tmp_path_factory, tree):
    path = tmp_path_factory.mktemp("tree") / "file"
    path.write_bytes(tree_file.dump(tree))
    assert _same(tree_file.load(path), tree)


def test_half_precision_and_scalars_come_back(tmp_path):
    half = np.arange(6).reshape(2, 3).astype(ml_dtypes.bfloat16)
    path = tmp_path / "file"
    path.write_bytes(tree_file.dump({"half": half, "scalar": np.float32(0.1), "pair": (1, 2)}))
    tree = tree_file.load(path)
    assert _same(tree["half"], half)
    assert tree["scalar"] == float(np.float32(0.1))
    assert tree["pair"] == [1, 2]


def test_a_file_with_code_in_it_is_refused(tmp_path):
    class Code:
        def __reduce__(self):
            return (tmp_path / "ran").touch, ()

    path = tmp_path / "file.npz"
    np.savez(path, tree=np.array([Code()], dtype=object))
    with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
        tree_file.load(path)
    assert not (tmp_path / "ran").exists()


def test_a_file_that_unfolds_is_refused(tmp_path):
    path = tmp_path / "file.npz"
    np.savez_compressed(path, tree=np.zeros(10**7, np.uint8))
    assert path.stat().st_size < 20_000
    with pytest.raises(ValueError, match="are compressed"):
        tree_file.load(path)


@pytest.mark.parametrize("text", ["[", '{"array": "none", "dtype": "u1"}', '{"list": ' * 9999])
def test_what_is_no_tree_is_refused(tmp_path, text):
    path = tmp_path / "file.npz"
    np.savez(path, tree=np.frombuffer(text.encode(), np.uint8))
    with pytest.raises(ValueError, match=r"no tree of arrays|Expecting"):
        tree_file.load(path)
