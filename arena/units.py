"""Units that more than one package converts."""

DAYS_PER_YEAR = 252  # trading days
BPS = 1e-4  # one basis point as a fraction
IN_BPS = 1e4  # a fraction times this is a number of basis points
