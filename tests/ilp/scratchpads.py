"""Small scheduling problems, and their answers by trying everything."""

import heapq
import itertools
import random
from dataclasses import replace

from hwgen.ilp.scratchpad import Operator, Problem, Tensor


def random_problem(seed, operators, *, reorder=False, largest=4, reach=6):
    """Operators that read some of the latest tensors; the budget is less than what all that live need."""
    rng = random.Random(seed)
    tensors = [Tensor(size=rng.randint(1, largest), external=True) for _ in range(rng.randint(1, 2))]
    ops = []
    for _ in range(operators):
        recent = range(max(0, len(tensors) - reach), len(tensors))
        inputs = tuple(rng.sample(recent, min(rng.randint(1, 3), len(recent))))
        outputs = []
        for _ in range(rng.choice((1, 1, 1, 2))):
            outputs.append(len(tensors))
            tensors.append(Tensor(size=rng.randint(1, largest), output=rng.random() < 0.15))
        ops.append(Operator(inputs=inputs, outputs=tuple(outputs)))
    problem = Problem(tensors=tuple(tensors), operators=tuple(ops), budget=1, reorder=reorder)
    least = max(problem.working_set(o) for o in range(operators))
    most = max(problem.live(range(operators)))
    return replace(problem, budget=min(rng.randrange(least, max(least + 1, most)) for _ in range(2)))


def full_problem(seed, *, tensors=10, steps=6, largest=4, reach=3, budget=8):
    """Hard to find addresses for: external tensors of two uses each, as many as fit, and one that fills most of the rest."""
    rng = random.Random(seed)
    uses, made, load = [[] for _ in range(steps)], [], [0] * steps
    for _ in range(tensors):
        start = rng.randrange(steps)
        end, size = min(steps - 1, start + rng.randint(1, reach)), rng.randint(1, largest)
        if max(load[start : end + 1]) + size > budget:
            continue
        for step in range(start, end + 1):
            load[step] += size
        for step in {start, end}:
            uses[step].append(len(made))
        made.append(Tensor(size=size, external=True))
    for step, taken in enumerate(load):
        if taken < budget and rng.random() < 0.8:
            uses[step].append(len(made))
            made.append(Tensor(size=budget - taken, external=True))
    ops = tuple(Operator(inputs=tuple(row), outputs=()) for row in uses)
    return Problem(tensors=tuple(made), operators=ops, budget=budget)


def fewest_bytes(problem):
    """The shortest way through all states of the machine: what has run, lies where, has a copy outside, has been loaded."""
    known, queue = {}, [(0, 0, (frozenset(), frozenset(), frozenset(), frozenset()))]
    while queue:
        cost, _, state = heapq.heappop(queue)
        done, placed, copied, loaded = state
        if known.get(state, cost) < cost:
            continue
        if len(done) == len(problem.operators):
            return cost
        there = dict(placed)
        for number in ready(problem, done):
            op = problem.operators[number]
            for kept in subsets(sorted(there)):
                missing = [t for t in op.tensors if t not in kept]
                spent, copies = cost, set(copied)
                for t in missing:
                    tensor = problem.tensors[t]
                    if t in op.inputs and (t in loaded or not tensor.external):
                        spent += tensor.size if tensor.external or tensor.output or t in copied else 2 * tensor.size
                        copies.add(t)
                for places in placements(problem, {t: there[t] for t in kept}, missing):
                    now = done | {number}
                    alive = frozenset((t, a) for t, a in places.items() if not now.issuperset(problem.users[t]))
                    new = (now, alive, frozenset(copies), loaded | set(op.inputs))
                    if spent < known.get(new, spent + 1):
                        known[new] = spent
                        heapq.heappush(queue, (spent, len(known), new))
    raise AssertionError("some operator doesn't fit")


def ready(problem, done):
    """The operators that can run next."""
    if not problem.reorder:
        return [len(done)]
    made = {t for number in done for t in problem.operators[number].outputs}
    left = [number for number in range(len(problem.operators)) if number not in done]
    return [n for n in left if all(problem.tensors[t].external or t in made for t in problem.operators[n].inputs)]


def subsets(items):
    return itertools.chain.from_iterable(itertools.combinations(items, n) for n in range(len(items) + 1))


def placements(problem, there, missing):
    """All ways to add ``missing`` at free addresses."""
    if not missing:
        yield there
        return
    tensor, *others = missing
    size = problem.tensors[tensor].size
    for address in range(problem.budget - size + 1):
        if all(address + size <= a or a + problem.tensors[t].size <= address for t, a in there.items()):
            yield from placements(problem, {**there, tensor: address}, others)


def least_peak(problem):
    """Over all orders."""
    orders = itertools.permutations(range(len(problem.operators)))
    possible = [o for o in orders if all(n in ready(replace(problem, reorder=True), o[:k]) for k, n in enumerate(o))]
    return min(max(problem.live(order)) for order in possible)
