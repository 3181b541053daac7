"""False promotions and power of the gate: `python -m benchmarks.gate`.

Prints the tables quoted in docs/evaluation.md. Takes about ten minutes on one core. Every request is simulated with a
fixed seed and judged by trainer.gate.judge.
"""

from benchmarks.gate.slices import ROWS_OF_USERS, Population, fallen_champions, loss_gain, promotions
from trainer.gate import GateSettings

# The samples only determine the AUC's interval, which does not affect the decision.
GATE = GateSettings(samples=1, min_examples=1)
FEW = GateSettings(samples=1, min_examples=1, min_users=2)
REQUESTS = 400
USERS = (50, 100, 300, 1000)
CHAMPIONS, IN_A_ROW = 2000, 20


def main() -> None:
    """Print the tables, each row as soon as it is computed."""
    _false_promotions()
    _in_a_row()
    _power()


def _false_promotions() -> None:
    print(
        f"Promotions among {REQUESTS} equally good challengers, each the first of its champion, in percent:"
    )
    print("| users | " + " | ".join(ROWS_OF_USERS) + " | log-normal, uneven |")
    print("|---|" + "---|" * (len(ROWS_OF_USERS) + 1))
    for users in (2, 3, 10, *USERS):
        populations = [Population(users, rows) for rows in ROWS_OF_USERS] + [Population(users, uneven=True)]
        found = (promotions(one, FEW, requests=REQUESTS, seed=1) for one in populations)
        print(f"| {users:,} | " + " | ".join(_percent(count, REQUESTS) for count in found) + " |", flush=True)


def _in_a_row() -> None:
    print(
        f"\nReplaced of {CHAMPIONS:,} champions within {IN_A_ROW} requests with equally good challengers, in percent:"
    )
    for users in (50, 100):
        for uneven in (False, True):
            population = Population(users, uneven=uneven)
            fallen = fallen_champions(population, GATE, champions=CHAMPIONS, requests=IN_A_ROW, seed=1)
            kind = ", uneven" if uneven else ""
            print(f"{users} users{kind}: {_percent(fallen, CHAMPIONS)}", flush=True)


def _power() -> None:
    challengers = (1, 5, IN_A_ROW)
    print("\nPromotions among 200 better challengers, as the champion's first, fifth and 20th, in percent:")
    shares = (0.1, 0.2, 0.4, 0.7)
    gains = [f"{100 * loss_gain(Population(1, better=better)):.1f} % less loss" for better in shares]
    print("| users | " + " | ".join(gains) + " |")
    print("|---|" + "---|" * len(gains))
    for users in USERS:
        cells = []
        for better in shares:
            found = (
                promotions(Population(users, better=better), GATE, requests=200, seed=2, earlier=k - 1)
                for k in challengers
            )
            cells.append(" / ".join(_percent(count, 200) for count in found))
        print(f"| {users:,} | " + " | ".join(cells) + " |", flush=True)


def _percent(count: int, of: int) -> str:
    return f"{100 * count / of:.1f}"


if __name__ == "__main__":
    main()
