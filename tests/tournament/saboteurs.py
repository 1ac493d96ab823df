"""Agents that try to harm a tournament, in a file as an entrant would bring it; test_saboteurs plays them."""

SOURCE = '''
import ctypes
import gc
import os
import signal
import socket
import sys
import time
import torch


class Good:
    history_length = 5
    def __init__(self, place: str = "", port: int = 0): self.place, self.port = place, port
    def reset(self): pass
    def act(self, observation, generator): return torch.zeros_like(observation.weight)


class Raises(Good):
    def act(self, observation, generator):
        if int(observation.step[0]) == 2: raise RuntimeError(f"broken at {object()}")
        return super().act(observation, generator)

class Hangs(Good):
    def act(self, observation, generator):
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        time.sleep(1000)

class Spins(Good):
    def act(self, observation, generator):
        while True: pass

class NeverStarts(Good):
    def __init__(self): time.sleep(1000)

class Nan(Good):
    def act(self, observation, generator): return torch.full_like(observation.weight, torch.nan)

class Exits(Good):
    def act(self, observation, generator): os._exit(3)

class Crashes(Good):
    def act(self, observation, generator): ctypes.string_at(0)

class Allocates(Good):
    def act(self, observation, generator): return bytearray(8 * 2**30)

class AllocatesTensors(Good):
    def act(self, observation, generator): return torch.ones(2**30, dtype=torch.float64)

class Prints(Good):
    def act(self, observation, generator):
        for _ in range(1024): os.write(1, b"x" * 2**20)
        return super().act(observation, generator)

class Chats(Good):
    def act(self, observation, generator):
        print("thinking " * 10_000)
        return super().act(observation, generator)

class CallsOut(Good):
    def act(self, observation, generator):
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as line: line.sendall(b"all I know")
        raise RuntimeError("has called out")

class Peeks(Good):
    """Looks for the market in the frames above it and in all objects of its process."""
    def act(self, observation, generator):
        seen, frame = [], sys._getframe()
        while frame is not None:
            seen += frame.f_locals.values()
            frame = frame.f_back
        kinds = {type(thing).__name__ for thing in [*seen, *gc.get_objects()]}
        found = sorted(kinds & {"VectorMarket", "Scenarios", "MarketState", "MatchRules"})
        secrets = [name for name in os.environ if name.startswith("ARENA_TEST")]
        raise RuntimeError(f"found {found} and {secrets}")

class WrongShape(Good):
    def act(self, observation, generator): return observation.weight[:, :-1]

class Mutates(Good):
    def act(self, observation, generator):
        observation.history.mul_(2)
        return super().act(observation, generator)

class Scribbles(Good):
    def act(self, observation, generator):
        for value in observation:
            if isinstance(value, torch.Tensor) and value.dim() < 4: value.zero_()
        return super().act(observation, generator)

class Forks(Good):
    """Leaves two processes behind that have left its session."""
    def act(self, observation, generator):
        for _ in range(2):
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0: time.sleep(1000)
                os._exit(0)
        raise RuntimeError("has left children behind")

class Reads(Good):
    """Looks what lies beside it, and for what the tournament was started with."""
    def act(self, observation, generator):
        beside = sorted(os.listdir(os.path.dirname(__file__)))
        raise RuntimeError(f"sees {beside} and {sorted(name for name in os.environ if 'ARENA' in name)}")

class Writes(Good):
    def act(self, observation, generator):
        with open(self.place, "w") as file: file.write("here I was")
        raise RuntimeError("has written")

class Fills(Good):
    """Writes what it may, where it may, until the disk is full."""
    def act(self, observation, generator):
        with open(self.place, "wb") as file:
            for _ in range(256): file.write(b"x" * 2**20)
        raise RuntimeError("has written")

class FillsScratch(Good):
    """The same with many files, each as large as allowed."""
    def act(self, observation, generator):
        for number in range(8):
            with open(f"{self.place}-{number}", "wb") as file: file.write(b"x" * 2**25)
        raise RuntimeError("has written")

class KillsParent(Good):
    def act(self, observation, generator):
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(1)
        raise RuntimeError("its parent lives")

class StopsParent(Good):
    def act(self, observation, generator):
        os.kill(os.getppid(), signal.SIGSTOP)
        raise RuntimeError("has stopped its parent")

class Lies(Good):
    """Answers for the process that runs it."""
    def act(self, observation, generator):
        for descriptor in range(3, 64):
            try:
                os.write(descriptor, b"cos\\nsystem\\n(S'true'\\ntR." * 10)
            except OSError:
                pass
        time.sleep(1000)

class Greedy(Good):
    history_length = 10**15

class Follower(Good):
    forecaster = "/tmp/mine.pt"
'''
