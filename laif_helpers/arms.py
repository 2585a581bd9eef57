"""Ways of making lessons, and the notebook that makes them."""

ARMS = ("vanilla", "fine_tuning", "auggpt", "random", "le", "lec", "le+lec", "lec+le")
"""Ways of making lessons, baselines and control first; tables keep this order."""
NOTEBOOK_OF = {
    **dict.fromkeys(("auggpt", "random", "le"), "03_instruct_LE"),
    "lec": "04_instruct_LEC",
}
"""The notebook that makes a strategy's lessons; fine_tuning's are the gold answers, which 05 itself takes."""


def strategy(arm: str, iteration: int, iterations: int) -> str:
    """How an arm makes its lessons in an iteration: a switch ``a+b`` does as ``a``, and as ``b`` in the last one."""
    first, _, second = arm.partition("+")
    return second if second and iteration >= iterations else first
