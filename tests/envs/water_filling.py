"""The clearing rule in plain Python, one asset of one market: the obvious version that the shipped one must equal."""


def water_fill(claims: list[float], amount: float) -> list[float]:
    """Pour `amount` into all glasses at once; a glass that is full takes no more."""
    poured = [0.0] * len(claims)
    thirsty = [i for i, claim in enumerate(claims) if claim > 0]
    while thirsty and amount > 0:
        sip = min(amount / len(thirsty), min(claims[i] - poured[i] for i in thirsty))
        for i in thirsty:
            poured[i] += sip
        amount -= sip * len(thirsty)
        smallest = min(thirsty, key=lambda i: claims[i] - poured[i])
        thirsty = [i for i in thirsty if i != smallest and claims[i] > poured[i]]
    return poured


def cross_and_fill(orders: list[float], capacity: float) -> list[float]:
    """Signed fills: the lighter side whole, the heavier side what the lighter and `capacity` allow."""
    buys, sells = [max(o, 0.0) for o in orders], [max(-o, 0.0) for o in orders]
    amount = min(sum(buys), sum(sells)) + capacity
    if sum(buys) > amount:
        buys = water_fill(buys, amount)
    if sum(sells) > amount:
        sells = water_fill(sells, amount)
    return [b - s for b, s in zip(buys, sells)]
