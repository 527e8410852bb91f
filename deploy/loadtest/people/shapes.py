"""How many people are there when. Chosen by `--shape`; `--users` is the most, `--run-time` the whole length."""

from collections.abc import Callable

from locust import LoadTestShape

# Share of the length after which a soak has all its users, so that its end can be compared with its beginning.
SOAK_RISE = 0.2
# A spike's calm before and after, and its share of the users then.
SPIKE_CALM, SPIKE_SHARE = 0.4, 0.1


def ramp(share: float, _steps: int) -> float:
    """From nobody to all, evenly: where answers get slow is the limit."""
    return share


def steps(share: float, steps: int) -> float:
    """Equal steps: each is long enough to be judged by itself."""
    return min(1.0, (int(share * steps) + 1) / steps)


def spike(share: float, _steps: int) -> float:
    """A tenth, then all at once, then a tenth again: is it well afterwards?"""
    return 1.0 if SPIKE_CALM <= share < 1 - SPIKE_CALM else SPIKE_SHARE


def soak(share: float, _steps: int) -> float:
    """All of them, for long: what grows?"""
    return min(1.0, share / SOAK_RISE)


SHAPES: dict[str, Callable[[float, int], float]] = {shape.__name__: shape for shape in (ramp, steps, spike, soak)}


class Shape(LoadTestShape):
    """One of the shapes above."""

    # Not by itself: locust would use any other class that it finds, whatever was asked for.
    abstract = True

    def __init__(self, options):
        super().__init__()
        self.share = SHAPES[options.shape]
        self.options = options

    def tick(self):
        """Users and how many come or go a second, or None when it is over."""
        passed = self.get_run_time()
        if passed >= self.options.run_time:
            return None
        users = round(self.share(passed / self.options.run_time, self.options.steps) * self.options.num_users)
        return max(1, users), max(self.options.spawn_rate or 1, self.options.num_users / 10)
