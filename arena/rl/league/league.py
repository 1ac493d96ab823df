"""The league: scripted agents and frozen snapshots that a learner meets, how often, and how each meeting went.

A plain object with its state in `league.json`, in one folder with the policy files of its snapshots, so that a training
that starts again finds it as it was.
"""

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypedDict

from arena.agents.loading import resolve_spec
from arena.rl.league.opponents import Opponent, opponent_names
from arena.rl.league.outcomes import LEARNER, Outcome, Wins, add_up, against

STATE = "league.json"
VIRTUAL_GAMES = 2  # half of them won: a player that was not met yet counts as even
Sampling = Literal["uniform", "prioritised"]
Kind = Literal["scripted", "snapshot", "exploiter"]
Rate = Callable[[Sequence[str], Wins, str], Mapping[str, float]]  # (players, wins, anchor) -> rating of each


@dataclass(frozen=True)
class LeagueParams:
    """Plain numbers; an iteration is one of `algorithm.train()`.

    scripted  specs of agents that are always in the pool
    sampling  uniform: all alike; prioritised: those more that the learner is less likely to beat
    """

    scripted: tuple[str, ...] = ("equal_weight", "momentum", "mean_reversion", "fader", "random")
    snapshot_every: int = 20  # iterations
    max_snapshots: int = 20  # of the learner, and as many of each exploiter
    sampling: Sampling = "prioritised"
    hardness: float = 2.0  # exponent of the chance to lose
    floor: float = 0.25  # share of the seats that is drawn evenly, so that everyone is met
    half_life: float = 30.0  # iterations after which a result of a player that learns counts half
    num_exploiters: int = 0
    exploiter_threshold: float = 0.6  # share of wins against the learner beyond which an exploiter starts anew
    rate_every: int = 10  # iterations

    def __post_init__(self) -> None:
        if not self.scripted:
            raise ValueError("scripted is empty, expected at least one agent: they play until there are snapshots")
        for name in ("snapshot_every", "rate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1 iteration")
        if self.max_snapshots < 2:
            raise ValueError(f"max_snapshots is {self.max_snapshots}, expected at least 2: the first and the latest")
        if self.sampling not in ("uniform", "prioritised"):
            raise ValueError(f"sampling is {self.sampling!r}, expected uniform or prioritised")
        if not 0 < self.floor <= 1:
            raise ValueError(f"floor is {self.floor}, expected a share above 0 and up to 1: everyone must be met")
        if not self.hardness >= 0 or not self.half_life > 0:
            raise ValueError(
                f"hardness is {self.hardness} and half_life is {self.half_life}, expected >= 0 and > 0 iterations"
            )
        if self.num_exploiters < 0 or not 0 < self.exploiter_threshold < 1:
            raise ValueError(
                f"num_exploiters is {self.num_exploiters} and exploiter_threshold is {self.exploiter_threshold}, "
                "expected at least 0 and a share between 0 and 1"
            )


class RatingRow(TypedDict):
    """Ratings of all who had results, after an iteration."""

    iteration: int
    env_steps: int
    ratings: dict[str, float]  # by player


class Member(NamedTuple):
    """One of the pool; it never changes."""

    name: str
    kind: Kind
    author: str = ""  # of a snapshot: LEARNER or exploiter_0 ...
    spec: str = ""  # of a scripted agent
    policy: str = ""  # of a snapshot: its file in the league's folder
    env_steps: int = 0  # that its author had been trained for


class League:
    """The pool, the results and the ratings; see `open`."""

    def __init__(self, params: LeagueParams, folder: Path) -> None:
        self.params, self.folder = params, folder
        names = opponent_names(params.scripted)
        self.members = [Member(name, "scripted", spec=resolve_spec(spec)) for name, spec in zip(names, params.scripted)]
        self.wins: Wins = {}
        self.history: list[RatingRow] = []
        self._born = 0

    @classmethod
    def open(cls, params: LeagueParams, folder: Path) -> "League":
        """The league of a folder with all that it holds, or a new one. `params` may differ from what they were."""
        league = cls(params, folder)
        path = folder / STATE
        if not path.exists():
            return league
        try:
            state = json.loads(path.read_text())
            league.members += [Member(**m) for m in state["members"] if m["kind"] != "scripted"]
            league.wins = {(first, second): wins for first, second, wins in state["wins"]}
            league.history, league._born = state["history"], state["born"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} holds no league: {error!r}; move the folder away to begin anew") from error
        league._forget_strangers()
        return league

    def save(self) -> None:
        """Write the state; a reader finds the old one or the new one, whole."""
        state = {
            "params": asdict(self.params),
            "members": [member._asdict() for member in self.members],
            "wins": [[*pair, wins] for pair, wins in self.wins.items()],
            "history": self.history,
            "born": self._born,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=self.folder, suffix=".json", delete=False) as draft:
            json.dump(state, draft, indent=1)
        os.replace(draft.name, self.folder / STATE)

    @property
    def exploiters(self) -> list[str]:
        """Names of the exploiters in training, who sit in every market and are not of the pool."""
        return [f"exploiter_{number}" for number in range(self.params.num_exploiters)]

    @property
    def players(self) -> list[str]:
        """Who plays: the learner, the exploiters, the pool."""
        return [LEARNER, *self.exploiters, *(member.name for member in self.members)]

    def record(self, outcomes: Wins) -> None:
        """Results of an iteration. Those of players that learn fade; who is not of the league is left out."""
        kept = 0.5 ** (1.0 / self.params.half_life)
        learning = {LEARNER, *self.exploiters}
        faded = {pair: wins * kept if learning & set(pair) else wins for pair, wins in self.wins.items()}
        self.wins = add_up([faded, outcomes])
        self._forget_strangers()

    def outcomes(self, player: str = LEARNER) -> dict[str, Outcome]:
        """Of a player, by whom it met; of those that learn as they were lately."""
        return against(self.wins, player)

    def win_probability(self, name: str) -> float:
        """Estimate that the learner finishes ahead of a player; 0.5 of whom it has not met."""
        games, wins = self.outcomes().get(name, Outcome(0.0, 0.0))
        return (wins + VIRTUAL_GAMES / 2) / (games + VIRTUAL_GAMES)

    def weights(self) -> dict[str, float]:
        """Of being drawn, by member; their sum is 1."""
        names = [member.name for member in self.members]
        return dict(zip(names, sampling_weights(self.params, [self.win_probability(name) for name in names])))

    def new_policy_file(self, author: str) -> Path:
        """Where the next snapshot of an author is to be written; no two are the same, whatever becomes of them."""
        self._born += 1
        stem = "snapshot" if author == LEARNER else author
        return self.folder / f"{stem}_{self._born:04d}.pt"

    def add_snapshot(self, author: str, policy: Path, env_steps: int) -> Member:
        """Take a policy file of the folder into the pool, and thin out its author's. Files are not deleted."""
        member = Member(
            name=policy.stem,
            kind="snapshot" if author == LEARNER else "exploiter",
            author=author,
            policy=policy.name,
            env_steps=env_steps,
        )
        own = [*(other for other in self.members if other.author == author), member]
        kept = thinned([other.env_steps for other in own], self.params.max_snapshots)
        left = {other.name for number, other in enumerate(own) if number not in kept}
        self.members = [other for other in [*self.members, member] if other.name not in left]
        self._forget_strangers()
        return member

    def forget(self, player: str) -> None:
        """Results of a player that has become another."""
        self.wins = {pair: wins for pair, wins in self.wins.items() if player not in pair}

    def rate(self, rate: Rate, iteration: int, env_steps: int) -> dict[str, float]:
        """Ratings from all results of who has any, added to the history. Anchor: cash, else a scripted agent."""
        scripted = [member.name for member in self.members if member.kind == "scripted"]
        anchor = "cash" if "cash" in scripted else scripted[0]
        met = {anchor, *(name for pair in self.wins for name in pair)}
        ratings = dict(rate([name for name in self.players if name in met], self.wins, anchor))
        self.history.append({"iteration": iteration, "env_steps": env_steps, "ratings": ratings})
        return ratings

    def opponents(self) -> list[Opponent]:
        """The pool as it is sent to where it plays."""
        weights = self.weights()
        return [
            Opponent(m.name, weights[m.name], m.spec, (self.folder / m.policy).read_bytes() if m.policy else b"")
            for m in self.members
        ]

    def _forget_strangers(self) -> None:
        players = set(self.players)
        self.wins = {pair: wins for pair, wins in self.wins.items() if players.issuperset(pair)}


def sampling_weights(params: LeagueParams, win_probability: Sequence[float]) -> list[float]:
    """Weights with sum 1 of members that the learner beats with these probabilities.

        w_i = (1 - floor) f(p_i) / sum_j f(p_j) + floor / m,    f(p) = (1 - p)**hardness;   uniform: f = 1

    Vinyals et al. (2019), "Grandmaster level in StarCraft II using multi-agent reinforcement learning", Nature 575:350
    (prioritised fictitious self-play; the floor is ours).
    """
    hardness = params.hardness if params.sampling == "prioritised" else 0.0
    wanted = [(1.0 - p) ** hardness for p in win_probability]
    total, count = sum(wanted), len(wanted)
    if total == 0.0:  # the learner never loses
        return [1.0 / count] * count
    return [(1.0 - params.floor) * w / total + params.floor / count for w in wanted]


def thinned(births: Sequence[int], limit: int) -> list[int]:
    """Which of the births, ascending, to keep: at most `limit`, spread evenly, the first and the latest among them.

    One at a time goes whose neighbours are closest together, the older of two.
    """
    kept = list(range(len(births)))
    while len(kept) > limit:
        inner = range(1, len(kept) - 1)
        del kept[min(inner, key=lambda i: births[kept[i + 1]] - births[kept[i - 1]])]
    return kept
