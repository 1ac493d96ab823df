"""Tables: what a row may depend on, that it is the same bits in any company, and what the disk remembers."""

import numpy as np
import pytest
import torch

from arena.data.synthetic.market import generate
from arena.data.synthetic.params import SyntheticParams
from arena.data.types import CLOSE
from arena.forecast import table
from arena.forecast.baselines import Drift, Persistence
from arena.forecast.ensemble import Ensemble
from arena.forecast.loading import load_forecaster
from arena.forecast.returns import return_features
from arena.forecast.stamps import DAY, business_day_stamps
from arena.forecast.table import TableRequest, TableStore, build_table, build_tables
from arena.forecast.types import QUANTILE_LEVELS, Forecast, ForecasterInfo

WINDOWS, BARS, ASSETS = 3, 40, 2
FIRST, CONTEXT, HORIZON = 15, 12, 20
# A baseline sums the returns of a batch of another shape in another order: a few last bits of float32.
SAME_FLOAT32 = {"rtol": 1e-4, "atol": 1e-6}


@pytest.fixture(scope="module")
def bars():
    params = SyntheticParams(num_assets=ASSETS, num_bars=BARS)
    return generate(params, range(WINDOWS), warmup=FIRST + 1).bars


class Nosy:
    """Mixes a whole call into every number, so that any company in a batch would show. Remembers what it is asked."""

    info = ForecasterInfo("nosy", "nosy-1", min_context=2)

    def __init__(self, level=0.0):
        self.asked, self.level = [], level

    def predict(self, context, stamps, horizon):
        self.asked.append((context, stamps, horizon))
        close = context[..., CLOSE]
        centre = close[..., -1] * (1 + 0.01 * torch.tanh(close.std())) + self.level * len(context)
        spread = torch.linspace(0.9, 1.1, len(QUANTILE_LEVELS))
        return Forecast(centre[..., None, None] * spread.expand(horizon, -1))

    def stats(self):
        raise NotImplementedError


class Silent(Nosy):
    """Never has an opinion."""

    def predict(self, context, stamps, horizon):
        return Forecast(torch.full((*context.shape[:-2], horizon, len(QUANTILE_LEVELS)), torch.nan))


def test_a_row_is_the_forecast_of_the_bars_up_to_it(bars):
    forecaster = Drift()
    found = build_table(forecaster, TableRequest(bars, FIRST, CONTEXT))
    assert found.shape == (WINDOWS, BARS, ASSETS, 4)
    assert found.dtype == torch.float32
    assert (found[:, :FIRST] == 0).all()
    for window, bar, asset in [(0, FIRST, 0), (1, 22, 1), (2, BARS - 1, 0)]:
        context = bars[window, bar - CONTEXT + 1 : bar + 1, asset].float()
        expected = return_features(forecaster.predict(context, None, HORIZON), context[-1, CLOSE])
        torch.testing.assert_close(found[window, bar, asset], expected, **SAME_FLOAT32)
        assert expected.abs().min() > 0


@pytest.mark.parametrize(
    ("forecaster", "series_per_call"),
    [(Drift(), 4096), (Drift(), ASSETS), (Nosy(), ASSETS)],  # Nosy mixes the rows of a call, so it gets one in each
    ids=["drift", "drift by row", "nosy by row"],
)
def test_later_bars_change_no_row_and_earlier_ones_only_within_the_context(
    bars, forecaster, series_per_call, monkeypatch
):
    monkeypatch.setattr(table, "CHUNK_SERIES", series_per_call)
    cut, start = 25, 17
    noise = 0.5 + torch.rand(bars.shape, generator=torch.Generator().manual_seed(0), dtype=bars.dtype)
    later, earlier = bars.clone(), bars.clone()
    later[:, cut + 1 :] *= noise[:, cut + 1 :]
    earlier[:, :start] *= noise[:, :start]
    whole, changed_later, changed_earlier = (
        build_table(forecaster, TableRequest(x, FIRST, CONTEXT)) for x in (bars, later, earlier)
    )
    assert torch.equal(whole[:, : cut + 1], changed_later[:, : cut + 1])
    assert not torch.equal(whole[:, cut + 1], changed_later[:, cut + 1])
    free = start + CONTEXT - 1  # the first row whose context begins at `start`
    assert torch.equal(whole[:, free:], changed_earlier[:, free:])
    assert not torch.equal(whole[:, free - 1], changed_earlier[:, free - 1])


@pytest.mark.parametrize("series_per_call", [6, 4096])
def test_a_window_is_the_same_bits_in_any_company(bars, series_per_call, monkeypatch):
    monkeypatch.setattr(table, "CHUNK_SERIES", series_per_call)
    whole = build_table(Nosy(), TableRequest(bars, FIRST, CONTEXT))
    assert torch.equal(build_table(Nosy(), TableRequest(bars.flip(0), FIRST, CONTEXT)), whole.flip(0))
    for window in range(WINDOWS):
        alone = build_table(Nosy(), TableRequest(bars[window : window + 1], FIRST, CONTEXT))
        assert torch.equal(alone[0], whole[window])


def test_a_network_gives_the_same_bits_whatever_the_company_and_the_memory_order():
    params = SyntheticParams(num_assets=ASSETS, num_bars=70)
    bars = generate(params, range(WINDOWS), warmup=40).bars
    network = load_forecaster("embedded")
    whole = build_table(network, TableRequest(bars, 39, 40))
    assert (whole[:, 39:, :, 3] > 0).all()
    turned = bars.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0)
    assert torch.equal(build_table(network, TableRequest(turned, 39, 40)), whole)
    assert torch.equal(build_table(network, TableRequest(bars[1:2], 39, 40))[0], whole[1])


def test_contexts_are_views_of_one_window(bars):
    forecaster = Nosy()
    build_table(forecaster, TableRequest(bars, FIRST, CONTEXT))
    assert len(forecaster.asked) == WINDOWS
    for context, stamps, horizon in forecaster.asked:
        assert context.shape == (BARS - FIRST, ASSETS, CONTEXT, 6)
        assert context.untyped_storage().nbytes() == BARS * ASSETS * 6 * 4
        assert (stamps, horizon) == (None, HORIZON)


@pytest.mark.parametrize("shared", [True, False])
def test_stamps_are_those_of_the_context_and_a_guess_of_the_bars_to_come(bars, shared):
    own = business_day_stamps(BARS, 0)
    stamps = own if shared else torch.stack([own + window * 7 * DAY for window in range(WINDOWS)])
    forecaster = Nosy()
    build_table(forecaster, TableRequest(bars, FIRST, CONTEXT, stamps, horizon=20))
    for window, (_, given, _) in enumerate(forecaster.asked):
        assert given.shape == (BARS - FIRST, 1, CONTEXT + 20)
        calendar = business_day_stamps(BARS, 20) + (0 if shared else window * 7 * DAY)
        assert torch.equal(given[:, 0], calendar[FIRST - CONTEXT + 1 :].unfold(0, CONTEXT + 20, 1))
    plain = build_table(Persistence(), TableRequest(bars, FIRST, CONTEXT))
    assert torch.equal(build_table(Persistence(), TableRequest(bars, FIRST, CONTEXT, stamps)), plain)


def test_an_ensemble_and_its_members_ask_once_and_get_the_same_bits(bars):
    drift, nosy = Drift(), Nosy()
    ensemble = Ensemble([drift, nosy], [1, 3])
    together = build_tables([nosy, ensemble, drift, Ensemble([ensemble, nosy])], TableRequest(bars, FIRST, CONTEXT))
    assert len(nosy.asked) == WINDOWS
    for found, forecaster in zip(together, [Nosy(), Ensemble([Drift(), Nosy()], [1, 3]), Drift()]):
        assert torch.equal(found, build_table(forecaster, TableRequest(bars, FIRST, CONTEXT)))


def test_no_opinion_is_zero_and_only_zero(bars):
    gappy = bars.clone()
    gappy[1, 5:30, 0] = torch.nan
    found = build_table(Drift(), TableRequest(gappy, FIRST, CONTEXT))
    assert found.isfinite().all()
    assert (found[1, 20:30, 0] == 0).all()
    assert torch.equal(found[1, :, 1], build_table(Drift(), TableRequest(bars, FIRST, CONTEXT))[1, :, 1])
    unknown = torch.full_like(bars[:1], torch.nan)
    assert (build_table(Drift(), TableRequest(unknown, FIRST, CONTEXT)) == 0).all()
    with pytest.raises(ValueError, match="nosy forecasts no finite price in window 0, bar 15 on"):
        build_table(Silent(), TableRequest(bars, FIRST, CONTEXT))


@pytest.mark.parametrize("first", [CONTEXT - 2, BARS])
def test_rows_without_a_whole_context_are_refused(bars, first):
    with pytest.raises(ValueError, match=f"first is {first}, expected 11 .. 39"):
        build_table(Drift(), TableRequest(bars, first, CONTEXT))


def test_progress_counts_windows(bars, tmp_path):
    told = []
    build_table(Drift(), TableRequest(bars, FIRST, CONTEXT), progress=told.append)
    TableStore(tmp_path).get(Drift(), TableRequest(bars, FIRST, CONTEXT), progress=told.append)
    assert told == [1, 2, 3, 1, 2, 3]


def test_a_store_asks_once_and_answers_the_same_bits(bars, tmp_path):
    forecaster = Nosy()
    expected = build_table(Nosy(), TableRequest(bars, FIRST, CONTEXT))
    assert torch.equal(
        TableStore(tmp_path / "deep" / "folder").get(forecaster, TableRequest(bars, FIRST, CONTEXT)), expected
    )
    other_process = TableStore(tmp_path / "deep" / "folder")
    assert torch.equal(other_process.get(forecaster, TableRequest(bars.flip(0), FIRST, CONTEXT)), expected.flip(0))
    assert len(forecaster.asked) == WINDOWS
    assert len(list((tmp_path / "deep" / "folder").iterdir())) == WINDOWS, "and no partial file"


def test_a_store_knows_what_a_table_depends_on(bars, tmp_path):
    store, stamps = TableStore(tmp_path), business_day_stamps(BARS, 0)
    one, moved = bars[:1], bars[:1].clone()
    moved[0, 0, 0, CLOSE] += 1e-9
    better = Nosy(level=0.1)
    better.info = ForecasterInfo("nosy", "nosy-2", min_context=2)
    questions = [
        (Nosy(), TableRequest(one, FIRST, CONTEXT)),
        (better, TableRequest(one, FIRST, CONTEXT)),
        (Nosy(), TableRequest(moved, FIRST, CONTEXT)),
        (Nosy(), TableRequest(one, FIRST + 1, CONTEXT)),
        (Nosy(), TableRequest(one, FIRST, CONTEXT - 1)),
        (Nosy(), TableRequest(one, FIRST, CONTEXT, stamps)),
        (Nosy(), TableRequest(one, FIRST, CONTEXT, stamps + DAY)),
        (Nosy(), TableRequest(one, FIRST, CONTEXT, None, HORIZON + 1)),
    ]
    for question in questions:
        assert torch.equal(store.get(*question), build_table(*question))
        assert question[0].asked, "another question is not answered from the disk"
    assert len(list(tmp_path.iterdir())) == len(questions)


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[:40],
        lambda whole: whole[:-1],
        lambda whole: whole[:-200] + b"\x00" * 200,
        lambda whole: whole[:500] + bytes([whole[500] ^ 1]) + whole[501:],
        lambda whole: b"not a table",
    ],
    ids=["empty", "cut", "short", "zeroed", "one bit", "text"],
)
def test_a_damaged_file_is_made_again(bars, tmp_path, damage):
    store, forecaster = TableStore(tmp_path), Nosy()
    expected = store.get(forecaster, TableRequest(bars[:1], FIRST, CONTEXT)).clone()
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert torch.equal(store.get(forecaster, TableRequest(bars[:1], FIRST, CONTEXT)), expected)
    assert path.read_bytes() == whole
    assert len(forecaster.asked) == 2


def test_a_stored_table_is_mapped_and_writing_to_it_reaches_no_file(bars, tmp_path):
    store = TableStore(tmp_path)
    mapped = store.get(Drift(), TableRequest(bars[:1], FIRST, CONTEXT))
    (path,) = tmp_path.iterdir()
    before = path.read_bytes()
    mapped.zero_()
    assert path.read_bytes() == before
    assert np.load(path).shape == (1, BARS, ASSETS, 4)
