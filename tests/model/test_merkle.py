"""The Merkle tree: every leaf provable, nothing else."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.hashing import hash_bytes
from psyche_p2p.model.merkle import merkle_path, merkle_root, root_of_path


def leaves_of(count: int) -> list[bytes]:
    return [hash_bytes(bytes([index])) for index in range(count)]


@given(count=st.integers(1, 40), data=st.data())
def test_every_leaf_and_no_other_is_proved(count: int, data: st.DataObject) -> None:
    leaves = leaves_of(count)
    index = data.draw(st.integers(0, count - 1))
    other = data.draw(st.integers(0, count - 1))
    path = merkle_path(leaves, index)
    assert root_of_path(leaves[index], path) == merkle_root(leaves)
    assert (root_of_path(leaves[other], path) == merkle_root(leaves)) == (other == index)
    moved = replace(path, index=other)
    assert (root_of_path(leaves[index], moved) == merkle_root(leaves)) == (other == index)


@given(count=st.integers(1, 40), data=st.data())
def test_a_path_of_the_wrong_length_leads_nowhere(count: int, data: st.DataObject) -> None:
    leaves = leaves_of(count)
    index = data.draw(st.integers(0, count - 1))
    path = merkle_path(leaves, index)
    longer = replace(path, siblings=(*path.siblings, leaves[0]))
    assert root_of_path(leaves[index], longer) is None
    if path.siblings:
        assert root_of_path(leaves[index], replace(path, siblings=path.siblings[:-1])) is None
    assert root_of_path(leaves[index], replace(path, index=count)) is None


def test_roots_cover_order_and_number() -> None:
    leaves = leaves_of(5)
    changed = [leaves[::-1], leaves[:4], [*leaves, leaves[4]], [merkle_root(leaves)]]
    assert len({merkle_root(variant) for variant in [leaves, *changed]}) == 5
