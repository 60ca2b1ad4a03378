"""Write the file, and say what is wrong."""

from .cases import NOTES
from .comparing import build
from .writing import PATH, render


def main() -> int:
    report = build()
    for problem in report.problems:
        print(problem)
    PATH.write_text(render(report))
    unused = [NOTES[i][0] for i in range(len(NOTES)) if i not in report.noted]
    if unused:
        print("notes that nothing needs:", *unused, sep="\n  ")
    return bool(report.problems or unused)


if __name__ == "__main__":
    raise SystemExit(main())
