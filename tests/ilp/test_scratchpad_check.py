"""Each rule broken once: the checker sees it."""

from dataclasses import replace

import pytest

from hwgen.ilp.scratchpad import Operator, Problem, Schedule, Stay, Tensor, check

# x (external, 2) -> a (3) -> b (4) -> c (1) = f(a, b), output; a leaves while b is made into d (2)
PROBLEM = Problem(
    tensors=(Tensor(size=2, external=True), Tensor(size=3), Tensor(size=4), Tensor(size=2), Tensor(size=1, output=True)),
    operators=(
        Operator(inputs=(0,), outputs=(1,)),
        Operator(inputs=(0,), outputs=(2,)),
        Operator(inputs=(2,), outputs=(3,)),
        Operator(inputs=(1, 3), outputs=(4,)),
    ),
    budget=7,
    reorder=True,
)
STAYS = (
    Stay(tensor=0, start=0, end=2, address=0),
    Stay(tensor=1, start=0, end=1, address=2),
    Stay(tensor=1, start=3, end=4, address=4),
    Stay(tensor=2, start=1, end=3, address=2),
    Stay(tensor=3, start=2, end=4, address=0),
    Stay(tensor=4, start=3, end=4, address=2),
)
GOOD = Schedule(order=(0, 1, 2, 3), stays=STAYS, external_bytes=6, bound=6, proven=True)


def with_stay(number, **change):
    """GOOD with one stay changed."""
    return replace(GOOD, stays=(*STAYS[:number], replace(STAYS[number], **change), *STAYS[number + 1 :]))


def test_accepts_what_is_right():
    assert check(PROBLEM, GOOD) is GOOD
    check(PROBLEM, with_stay(2, address=3))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (replace(GOOD, order=(0, 1, 2)), r"order must have each of 4 operators once, not be \(0, 1, 2\)"),
        (replace(GOOD, order=(0, 1, 1, 3)), r"order must have each of 4 operators once, not be \(0, 1, 1, 3\)"),
        (replace(GOOD, order=(0, 2, 1, 3)), "operator 2 must run after the one that makes its input 2"),
        (replace(GOOD, order=(1, 0, 2, 3)), "tensor 2 must be in the scratchpad in step 0, where operator 1 uses it"),
        (with_stay(0, tensor=5), "stays must be of tensors below 5, not 5"),
        (with_stay(4, end=5), "a stay must lie within steps 0 to 4, not 2 to 5"),
        (with_stay(1, end=0), "a stay must lie within steps 0 to 4, not 0 to 0"),
        (with_stay(0, address=-1), "a stay must lie within 7 bytes, not at -1 to 1"),
        (with_stay(2, address=5), "a stay must lie within 7 bytes, not at 5 to 8"),
        (with_stay(1, end=4), "stays of tensor 1 must not overlap: step 3 has two"),
        (replace(GOOD, stays=STAYS[1:]), "tensor 0 must be in the scratchpad in step 0, where operator 0 uses it"),
        (with_stay(0, end=1), "tensor 0 must be in the scratchpad in step 1, where operator 1 uses it"),
        (
            replace(GOOD, stays=(*STAYS, Stay(tensor=1, start=2, end=3, address=4))),
            "a stay must serve a use, not be of tensor 1 in steps 2 to 3",
        ),
        (with_stay(3, start=0), "tensor 2 must first stay in step 1, which makes it, not in 0"),
        (with_stay(3, address=1), "tensors 0 and 2 must not overlap in step 1"),
        (with_stay(5, address=4), "tensors 1 and 4 must not overlap in step 3"),
        (replace(GOOD, external_bytes=3, bound=3), "external_bytes must be 6, not 3"),
        (replace(GOOD, bound=7, proven=False), "bound must be at most 6, not 7"),
        (replace(GOOD, bound=5), "proven must be False, not True"),
        (replace(GOOD, proven=False), "proven must be True, not False"),
    ],
)
def test_sees_what_is_wrong(broken, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        check(PROBLEM, broken)


def test_keeps_the_order_of_the_program():
    swapped = (1, 0, 2, 3)
    with pytest.raises(ValueError, match=r"^order must be the program's unless the problem says reorder$"):
        check(replace(PROBLEM, reorder=False), replace(GOOD, order=swapped))
    check(replace(PROBLEM, reorder=False), GOOD)


@pytest.mark.parametrize(("first", "moved"), [(Tensor(size=3, output=True), 3), (Tensor(size=3), 6)])
def test_counts_spills_where_there_is_no_copy(first, moved):
    problem = replace(PROBLEM, tensors=(PROBLEM.tensors[0], first, *PROBLEM.tensors[2:]))
    check(problem, replace(GOOD, external_bytes=moved, bound=moved))
