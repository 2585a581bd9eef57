"""Draws questions of logical deduction for ``make_reasoning.py``; a cell is how many objects."""

import random
from dataclasses import dataclass
from itertools import islice, permutations

from laif_helpers.graders.steps.logical_deduction import orders, read_clue

ORDER_SEEN = ("3", "5")
ORDER_SIZES = {
    "train": dict.fromkeys(ORDER_SEEN, 300),
    "validation": dict.fromkeys(ORDER_SEEN, 40),
    "test": dict.fromkeys((*ORDER_SEEN, "7"), 120),
}
_NUMBER = {"3": "three", "5": "five", "7": "seven"}
_ORDINALS = ("second", "third", "fourth")


@dataclass(frozen=True)
class Scene:
    """A setting: its opening, its things (with their article, if any), and how it speaks of order."""

    opening: str
    things: tuple[str, ...]
    verb: str
    before: str
    after: str
    first: str
    last: str
    counted: str
    """How a place is counted, with ``{n}`` and ``{end}``."""


SCENES = (
    Scene(
        "On a shelf, there are {n} cups in a row",
        tuple(f"a {word} cup" for word in ("blue", "red", "tall", "green", "white", "small", "black", "round")),
        *("is", "to the left of", "to the right of", "leftmost", "rightmost", "{n} from the {end}"),
    ),
    Scene(
        "On a farm, there are {n} machines",
        ("a tractor", "a van", "a pump", "a plough", "a mill", "a truck", "a crane", "a baler"),
        *("is", "older than", "newer than", "oldest", "newest", "{n}-{end}"),
    ),
    Scene(
        "In a rowing race, there were {n} rowers",
        ("Ada", "Ben", "Cleo", "Dan", "Ivy", "Kim", "Max", "Zoe"),
        *("finished", "above", "below", "first", "last", "{n}"),
    ),
    Scene(
        "A market stall sells {n} kinds of nuts",
        ("walnuts", "almonds", "peanuts", "cashews", "chestnuts", "pecans", "hazelnuts", "pistachios"),
        *("are", "less expensive than", "more expensive than", "cheapest", "most expensive", "{n}-{end}"),
    ),
    Scene(
        "At a post office, there are {n} parcels",
        tuple(f"a {word} parcel" for word in ("flat", "long", "gray", "square", "torn", "pink", "heavy", "wet")),
        *("is", "lighter than", "heavier than", "lightest", "heaviest", "{n}-{end}"),
    ),
)


def draw_orders(rng: random.Random, cell: str) -> str:
    """A question about as many objects as the cell says."""
    scene, n = rng.choice(SCENES), int(cell)
    things = rng.sample(scene.things, n)
    names = [thing.removeprefix("a ") for thing in things]
    order = rng.sample(names, n)
    clues = _clues(rng, scene, tuple(names), order)
    listed = f"{', '.join(things[:-1])}, and {things[-1]}"
    opening = scene.opening.format(n=_NUMBER[cell])
    place = rng.choice(_places(scene, rng.randrange(n), n))
    options = [f"({letter}) {_says(scene, name, place)}" for letter, name in zip("ABCDEFG", names, strict=False)]
    return f"{opening}: {listed}. {'. '.join(clues)}.\nOptions:\n" + "\n".join(options)


def _clues(rng: random.Random, scene: Scene, names: tuple[str, ...], order: list[str]) -> list[str]:
    """True sentences, each needed, that leave one order."""
    pairs = [(earlier, other) for earlier, other in permutations(names, 2) if order.index(earlier) < order.index(other)]
    true = [_compared(rng, scene, *pair) for pair in rng.sample(pairs, len(pairs))]
    for at in range(len(names)):
        true.insert(rng.randrange(6), _says(scene, order[at], rng.choice(_places(scene, at, len(names)))))
    chosen: list[str] = []
    for sentence in true:
        chosen.append(sentence)
        if _unique(names, chosen):
            break
    for sentence in list(chosen):
        rest = [other for other in chosen if other != sentence]
        chosen = rest if _unique(names, rest) else chosen
    rng.shuffle(chosen)
    return chosen


def _unique(names: tuple[str, ...], sentences: list[str]) -> bool:
    clues = tuple(read_clue(sentence, names) for sentence in sentences)
    return len(list(islice(orders(names, clues), 2))) == 1


def _compared(rng: random.Random, scene: Scene, earlier: str, later: str) -> str:
    if rng.random() < 0.5:
        return f"{_named(scene, earlier)} {scene.verb} {scene.before} {_named(scene, later).replace('The ', 'the ')}"
    return f"{_named(scene, later)} {scene.verb} {scene.after} {_named(scene, earlier).replace('The ', 'the ')}"


def _named(scene: Scene, name: str) -> str:
    return name if scene.verb == "finished" else f"The {name}"


def _says(scene: Scene, name: str, place: str) -> str:
    return f"{_named(scene, name)} {scene.verb} {place}"


def _places(scene: Scene, at: int, n: int) -> list[str]:
    """How a place is said, from the front and from the end as far as there are words for it."""
    the = "" if scene.verb == "finished" else "the "
    if at in (0, n - 1):
        return [the + (scene.first if at == 0 else scene.last)]
    ends = [(at, scene.first.replace("leftmost", "left")), (n - 1 - at, scene.last.replace("rightmost", "right"))]
    phrases = [scene.counted.format(n=_ORDINALS[k - 1], end=end) for k, end in ends if k <= len(_ORDINALS)]
    if scene.verb == "finished":  # counted from the front alone
        phrases = phrases[:1] if at <= len(_ORDINALS) else [f"{_ORDINALS[n - 2 - at]}-to-last"]
    return [the + phrase for phrase in phrases]
