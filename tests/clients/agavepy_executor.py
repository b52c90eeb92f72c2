"""agavepy's AbacoExecutor: functions called on the cluster as if they were here.

Functions that pickle by their names go anywhere. Those that travel whole, as lambdas and what is
defined here do, need the same minor version of Python on both sides: BRIDGE says `same_python`.
"""

import math
import operator
import sys

from agavepy.actors import AbacoExecutor
from agavepy_client import connect
from common import BRIDGE, done

NUMBERS = [3, 5, 7, 11]


def collatz(number, /, *, most=1000):
    """Return how many steps the number takes to reach one; a function of this script alone."""
    for step in range(most):
        if number == 1:
            return step
        number = number // 2 if number % 2 == 0 else 3 * number + 1
    return None


def results(answers):
    """Return what each call returned; an executor gives a list for each."""
    return [answer.result() for answer in answers]


def main():
    """Map functions over inputs, the results compared with what comes of calling them here."""
    ag = connect(BRIDGE["url"], token=BRIDGE["token"])
    executor = AbacoExecutor(ag, image=BRIDGE["images"]["py-func"])
    done(f"an executor on {executor.image}, from Python {sys.version.split()[0]}")
    calls = [(number,) for number in NUMBERS]
    assert results(executor.map(math.factorial, calls)) == [[math.factorial(n)] for n in NUMBERS]
    assert executor.blocking_call(operator.mul, 6, 7) == [42]
    assert executor.blocking_call(sorted, [2, 3, 1], reverse=True) == [[3, 2, 1]]
    assert executor.blocking_call(math.sqrt, -1) == []  # what raises sends nothing
    done("functions by name")
    if BRIDGE["same_python"]:
        offset = 1000
        assert results(executor.map(lambda n: n * n + offset, calls)) == [
            [n * n + offset] for n in NUMBERS
        ]
        words = [{"most": 5}, {"most": 500}]
        answers = executor.map(collatz, [(27,), (27,)], words)
        assert results(answers) == [[None], [111]]
        done("functions sent whole")
    executor.delete()


main()
