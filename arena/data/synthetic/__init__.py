"""The synthetic market: scenarios made from seeds."""

from arena.data.synthetic.market import generate as generate
from arena.data.synthetic.params import SyntheticParams as SyntheticParams
