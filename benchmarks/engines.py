"""One engine or two with the same multipliers, for the networks of the folder of models and pairs of them.

``python -m benchmarks.engines [MULTIPLIERS] [NAME+NAME ...]`` from the repository; left out where the folder of models is not
there. In each row the best engines of a sort: weight stationary ones, as the overlay's, or any.
"""

import sys
from collections.abc import Iterator, Sequence
from itertools import combinations

from rich.console import Console
from rich.table import Table

from benchmarks.overlay import MODELS
from hwgen.exploring import explore
from hwgen.overlay.dataflows import DATAFLOWS, Dataflow

NETWORKS = ("kws", "ic", "vww", "ad")
MULTIPLIERS = 156  #: of the ULX3S
COLUMNS = ("networks", "stationary", "", "engines", "cycles", "less than one", "busy", "bound", "proven", "seconds")


def _rows(names: Sequence[str], multipliers: int, dataflows: Sequence[Dataflow]) -> Iterator[tuple[str, ...]]:
    result = explore([MODELS / name / f"{name}_int8_qdq_nchw.onnx" for name in names], multipliers, dataflows)
    one = result.rows[0].makespan_cycles
    for row in result.rows:
        yield (
            " + ".join(names), "any" if len(dataflows) > 1 else dataflows[0], row.name,
            ", ".join(f"{e.dataflow[0]} {e.rows} × {e.columns}" for e in row.engines), f"{row.makespan_cycles:,}",
            f"{1 - row.makespan_cycles / one:.1%}", f"{row.utilisation:.1%}", f"{row.bound:,}", "yes" if row.proven else "no",
            f"{row.seconds:.1f}",
        )  # fmt: skip


def main(arguments: list[str]) -> int:
    if not MODELS.is_dir():
        print(f"there is no {MODELS} (HWGEN_MODELS)", file=sys.stderr)
        return 0
    numbers = [int(a) for a in arguments if a.isdigit()]
    given = [tuple(a.split("+")) for a in arguments if not a.isdigit()]
    cases = given or [(name,) for name in NETWORKS] + list(combinations(NETWORKS, 2)) + [NETWORKS]
    table = Table(*COLUMNS)
    for names in cases:
        for dataflows in (("weight",), DATAFLOWS):
            for row in _rows(names, numbers[0] if numbers else MULTIPLIERS, dataflows):
                table.add_row(*row)
                print(" | ".join(row), flush=True)
    Console(width=160).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
