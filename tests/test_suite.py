"""Names of tasks."""

import pytest

from gpld.suite import same_task, short_name


@pytest.mark.parametrize(
    ("task", "short"),
    [
        ("/a b/c/mine.py:make", "mine.py:make"),
        ("gymnasium:ALE/Pong-v5", "gymnasium:ALE/Pong-v5"),
        ('gymnasium:CartPole-v1 {"a": "b/c"}', 'gymnasium:CartPole-v1 {"a": "b/c"}'),
        ("walker_run", "walker_run"),
    ],
)
def test_names_lose_the_folders_of_a_file_and_nothing_else(task, short):
    assert short_name(task) == short


def test_a_file_that_was_moved_is_the_same_task():
    assert same_task("/a/mine.py:make", "b/mine.py:make")
    assert same_task("cup_catch", "ball_in_cup_catch")
    for other in ("/a/mine.py:other", "/a/other.py:make", "mine:make", "walker_run"):
        assert not same_task("/a/mine.py:make", other)
