"""The accounts of one market in plain Python: calls, forced reductions, penalty, ruin, halts, one rule after another.

One permanent linear impact book, spread and fee, debit interest and borrow fee; rules as numbers, not parameters.
"""

from dataclasses import dataclass

from water_filling import cross_and_fill


@dataclass
class Rates:
    """What trading and holding cost; impact[a] is the fraction of the price that one share moves it for good."""

    impact: list[float]
    trade: float = 0.0  # half-spread and fee, fraction of notional
    debit: float = 0.0  # per bar
    borrow: float = 0.0  # per bar


@dataclass
class Bar:
    """One bar: the close before it, the price of its fills, its close."""

    close_before: list[float]
    fill_price: list[float]
    close: list[float]
    capacity: list[float]
    tradable: list[bool]
    wind_down: bool = False


@dataclass
class Account:
    """One seat."""

    cash: float
    position: list[float]
    nav: float = 0.0
    called: bool = False
    alive: bool = True
    penalty: float = 0.0  # paid in the last bar

    def forced(self, bar: Bar) -> list[float]:
        """Shares of each asset that must go in this bar."""
        notional = [abs(h) * s for h, s in zip(self.position, bar.close_before)]
        sellable = sum(n for n, tradable in zip(notional, bar.tradable) if tradable)
        fraction = 0.0
        if not self.alive:
            fraction = 1.0
        elif self.called and sellable > 0:
            too_much = sum(notional) - max(self.nav, 0.0) / 0.36
            fraction = min(max(too_much / sellable, 0.0), 1.0)
        return [fraction * abs(h) if tradable else 0.0 for h, tradable in zip(self.position, bar.tradable)]

    def sent(self, orders: list[float], bar: Bar) -> list[float]:
        """What reaches the market instead of the seat's own orders."""
        result = []
        for order, h, must, tradable in zip(orders, self.position, self.forced(bar), bar.tradable):
            if not tradable:
                order = 0.0
            elif not self.alive or self.called or bar.wind_down:
                own = 0.0 if not self.alive or order * h >= 0 else min(abs(order), abs(h))
                order = -max(own, must) if h > 0 else max(own, must)
            result.append(order)
        return result


@dataclass
class Ledger:
    """All seats of one market and its displacement in shares."""

    rates: Rates
    accounts: list[Account]
    imbalance: list[float]

    def step(self, bar: Bar, orders: list[list[float]]) -> None:
        sent = [account.sent(own, bar) for account, own in zip(self.accounts, orders)]
        forced = [account.forced(bar) for account in self.accounts]
        for account in self.accounts:
            account.penalty = 0.0
            if account.alive or any(account.position):
                account.cash -= self.rates.debit * max(-account.cash, 0.0)
                shorts = sum(max(-h, 0.0) * s for h, s in zip(account.position, bar.close_before))
                account.cash -= self.rates.borrow * shorts
        for a, s in enumerate(bar.fill_price):
            fills = cross_and_fill([order[a] for order in sent], bar.capacity[a])
            net = sum(fills)
            price = s * (1 + self.rates.impact[a] * (self.imbalance[a] + net / 2))
            self.imbalance[a] += net
            for account, fill, must in zip(self.accounts, fills, [f[a] for f in forced]):
                penalty = 10e-4 * s * min(abs(fill), must)
                account.penalty += penalty
                account.cash -= fill * price + self.rates.trade * s * abs(fill) + penalty
                account.position[a] += fill
        for account in self.accounts:
            self.mark(account, bar.close)

    def mark(self, account: Account, prices: list[float]) -> None:
        worth = [h * s for h, s in zip(account.position, prices)]
        exits = [
            s * (c * h * h / 2 + self.rates.trade * abs(h))
            for h, s, c in zip(account.position, prices, self.rates.impact)
        ]
        account.nav = account.cash + sum(worth) - sum(exits)
        longs, shorts = sum(w for w in worth if w > 0), -sum(w for w in worth if w < 0)
        breach = account.nav < 0.25 * longs + 0.30 * shorts
        unreleased = account.called and account.nav < 0.35 * (longs + shorts)
        account.called = breach or unreleased
        account.alive = account.alive and account.nav > 0
