"""Feed made-up input to whatever reads what strangers write, and to the decisions.

None may fail, leak or contradict itself. Cases are made from a seed and a number, so that each can be made
again. They lean towards what matters to the syntax: pieces of valid input, cut, joined and repeated.
"""

from __future__ import annotations

import argparse
import random  # noqa: TID251 - chance is what this is about
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from scripts.runtime import fuzz_edge, fuzz_layers, fuzz_sdk, fuzz_seals
from scripts.runtime.fuzz_cases import Chance, FoundError, hold

__all__ = ["TARGETS", "FoundError", "fuzz", "main"]

_BAR = 40
_STEP = 5000
_MAX_SECONDS = 5.0
"""Of the processor, on a slow machine; what is quadratic in the longest texts takes hours."""
_MAX_KIBIBYTES = 300 * 1024

TARGETS: Mapping[str, Callable[[Chance], None]] = {
    target.__name__: target
    for target in (
        *fuzz_edge.TARGETS,
        *fuzz_sdk.TARGETS,
        *fuzz_layers.TARGETS,
        *fuzz_seals.TARGETS,
    )
}


def try_one(name: str, seed: int, number: int) -> None:
    """Make one case, and try it, within the bounds on time and memory."""
    chance = Chance(random.Random(f"{seed}/{number}"))  # noqa: S311 - cases, not secrets
    seconds, kibibytes = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    TARGETS[name](chance)
    seconds = time.process_time() - seconds
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - kibibytes
    hold(seconds < _MAX_SECONDS, "a case takes too long", seconds)
    hold(kibibytes < _MAX_KIBIBYTES, "a case takes too much memory, in KiB", kibibytes)


def fuzz(
    cases: int,
    seed: int,
    names: Sequence[str] = tuple(TARGETS),
    progress: Callable[[int], None] = lambda _: None,
) -> dict[str, int]:
    """Try so many cases in turn; return how many each target had.

    Raises :class:`FoundError` at the first that fails.
    """
    counts = dict.fromkeys(names, 0)
    for number in range(cases):
        name = names[number % len(names)]
        try:
            try_one(name, seed, number)
        except Exception as error:
            again = f"--seed {seed} --only {name} --case {number}"
            raise FoundError(
                f"{name}: {type(error).__name__}: {error}\nagain: scripts/fuzz {again}"
            ) from error
        counts[name] += 1
        if number % _STEP == 0:
            progress(number)
    return counts


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return 0 if all cases held, 1 at the first that doesn't."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=1_000_000, help="how many (default: a million)")
    parser.add_argument("--seed", type=int, default=1, help="another one makes other cases (default: 1)")
    parser.add_argument("--only", choices=TARGETS, action="append", help="this target alone; may be repeated")
    parser.add_argument("--case", type=int, help="this one alone, as a failure names it; with --only")
    options = parser.parse_args(arguments)
    if options.case is not None:
        try_one((options.only or ["keys"])[0], options.seed, options.case)
        return 0
    began = time.monotonic()

    def progress(number: int) -> None:
        done = (number + 1) / options.cases
        bar = "#" * int(done * _BAR)
        rate = number / max(time.monotonic() - began, 0.001)
        print(f"\r[{bar:<{_BAR}}] {done:4.0%}  {number:>9,} cases  {rate:,.0f}/s ", end="", file=sys.stderr)

    try:
        counts = fuzz(options.cases, options.seed, options.only or tuple(TARGETS), progress)
    except FoundError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    print(file=sys.stderr)
    for name, count in counts.items():
        print(f"{name:<12}{count:>12,} cases held")
    print(f"{'all':<12}{sum(counts.values()):>12,} in {time.monotonic() - began:.0f} s, seed {options.seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
