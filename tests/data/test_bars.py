"""Loading bars: the file shapes that users bring, and a sentence for every way in which files are broken."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest
import torch

from arena.data.bars.columns import parse_times
from arena.data.bars.readers import BarsError, load_bars, split
from arena.data.types import CLOSE, VOLUME
from arena.errors import UserError

DAYS = pd.date_range("2024-01-01", periods=8, freq="D")
FIELDS = ["open", "high", "low", "close", "volume"]


def frame(seed=0, num_bars=8, columns=FIELDS):
    """Valid bars as a table [num_bars, 5]."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, num_bars)))
    open_ = close * (1 + rng.normal(0, 0.004, num_bars))
    high, low = np.maximum(open_, close) * 1.002, np.minimum(open_, close) * 0.998
    volume = rng.integers(1000, 9000, num_bars).astype(float)
    return pd.DataFrame(np.round(np.stack([open_, high, low, close, volume], 1), 4), columns=columns)


def write_folder(folder, symbols=("AAA", "BBB"), change=None):
    """One CSV per symbol; `change(table)` returns the table of the first one broken."""
    for i, symbol in enumerate(symbols):
        table = frame(i)
        table.insert(0, "date", DAYS.strftime("%Y-%m-%d"))
        if i == 0 and change is not None:
            table = change(table)
        table.to_csv(folder / f"{symbol}.csv", index=False)
    return folder


def checks(report, severity):
    return [finding.check for finding in report.findings if finding.severity == severity]


def test_folder_with_one_file_per_symbol(tmp_path):
    bars, report = load_bars(write_folder(tmp_path))
    assert bars.symbols == ("AAA", "BBB")
    assert bars.values.shape == (8, 2, 6)
    assert bars.values.dtype == torch.float64
    assert bars.tradable.all()
    assert bars.dt == 1.0
    assert bars.timestamps[0] == 1_704_067_200_000_000  # 2024-01-01 UTC in microseconds
    expected = frame(1).to_numpy()
    np.testing.assert_allclose(bars.values[:, 1, :5], expected)
    np.testing.assert_allclose(bars.values[:, 1, 5], expected[:, 4] * expected[:, :4].mean(1))
    assert report.findings == ()
    assert report.text() == (
        "16 rows read, 2 symbols x 8 bars from 2024-01-01 to 2024-01-08, dt 1.0 trading days, policy 'error': "
        "0 errors, 0 warnings"
    )


def long_table():
    parts = []
    for i, symbol in enumerate(("AAA", "BBB")):
        table = frame(i, columns=["Open", "HIGH", "low", "Close", "Vol"])
        table.insert(0, "Ticker", symbol)
        table.insert(1, "Timestamp", DAYS)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def wide_table(field_first):
    """As yfinance returns it."""
    parts = {
        symbol: frame(i, columns=["Open", "High", "Low", "Close", "Volume"]) for i, symbol in enumerate(("AAA", "BBB"))
    }
    table = pd.concat(parts, axis=1, names=["Ticker", "Price"]).set_index(pd.Index(DAYS, name="Date"))
    return table.swaplevel(axis=1).sort_index(axis=1) if field_first else table


@pytest.mark.parametrize(
    "name", ["long.csv", "long.parquet", "wide.csv", "wide.parquet", "swapped.csv", "swapped.parquet"]
)
def test_every_file_shape_gives_the_same_bars(tmp_path, name):
    folder = tmp_path / "folder"
    folder.mkdir()
    expected, _ = load_bars(write_folder(folder))
    shape, kind = name.split(".")
    table = long_table() if shape == "long" else wide_table(shape == "swapped")
    if kind == "csv":
        table.to_csv(tmp_path / name, index=shape != "long")
    else:
        table.to_parquet(tmp_path / name)
    bars, report = load_bars(tmp_path / name)
    assert bars.symbols == expected.symbols
    assert torch.equal(bars.timestamps, expected.timestamps)
    torch.testing.assert_close(bars.values, expected.values)
    assert report.errors == ()


def test_wide_csv_without_an_index_name_has_two_header_rows(tmp_path):
    wide_table(True).rename_axis(None).to_csv(tmp_path / "wide.csv")
    bars, report = load_bars(tmp_path / "wide.csv")
    assert bars.values.shape == (8, 2, 6)
    assert report.findings == ()


def test_wide_table_of_one_symbol(tmp_path):
    wide_table(True).loc[:, pd.IndexSlice[:, "AAA"]].to_csv(tmp_path / "wide.csv")
    assert load_bars(tmp_path / "wide.csv")[0].symbols == ("AAA",)


def test_compressed_csv_with_byte_order_mark_and_blank_lines(tmp_path):
    write_folder(tmp_path, ("AAA",))
    text = (tmp_path / "AAA.csv").read_text()
    (tmp_path / "AAA.csv").unlink()
    with gzip.open(tmp_path / "AAA.csv.gz", "wt", encoding="utf-8-sig") as file:
        file.write(text.replace("\n", "\n\n"))
    bars, _ = load_bars(tmp_path)
    assert bars.symbols == ("AAA",)
    assert len(bars.timestamps) == 8


def test_symbols_chooses_and_orders(tmp_path):
    write_folder(tmp_path, ("AAA", "BBB", "NA"))
    assert load_bars(tmp_path, symbols=["NA", "AAA"])[0].symbols == ("NA", "AAA")
    with pytest.raises(ValueError, match="no symbol CCC among AAA, BBB, NA; correct symbols="):
        load_bars(tmp_path, symbols=["CCC"])


@pytest.mark.parametrize(
    "cell",
    [
        "2024-01-31 14:30:00",
        "2024-01-31T14:30:00Z",
        "2024-01-31T15:30:00+01:00",
        "2024/1/31 14:30:00",
        "1706711400",
        "1706711400000",
        "1706711400000000",
        "1706711400000000000",
    ],
)
def test_times_of_all_kinds(cell):
    assert parse_times(np.array([cell])).tolist() == [1_706_711_400_000_000]


def test_dates_without_separators_and_unreadable_times():
    times = parse_times(np.array(["20240131", "31/01/2024", "soon", ""]))
    assert times[0] == 1_706_659_200_000_000
    assert (times[1:] == -(2**63)).all()


def test_bar_length_is_inferred(tmp_path):
    def bars_at(times):
        table = frame(0, len(times))
        table.insert(0, "time", times)
        table.to_csv(tmp_path / "AAA.csv", index=False)
        return load_bars(tmp_path / "AAA.csv")[0].dt

    hours = [day + pd.Timedelta(hours=h) for day in DAYS for h in (14, 15, 16, 17)]
    assert bars_at(hours) == 0.25
    assert bars_at(pd.date_range("2024-01-01", periods=20, freq="W")) == 5.0
    assert bars_at(pd.date_range("2024-01-01", periods=20, freq="MS")) == 21.0
    assert bars_at(pd.bdate_range("2024-01-01", periods=20)) == 1.0
    assert load_bars(tmp_path / "AAA.csv", dt=0.5)[0].dt == 0.5


def set_cell(row, column, value):
    def change(table):
        table = table.astype(object)
        table.loc[row, column] = value
        return table

    return change


def duplicate(table):
    return pd.concat([table.iloc[:4], table.iloc[3:]])


def swap(table):
    return table.iloc[[0, 1, 3, 2, 4, 5, 6, 7]]


BAD_ROW = 'correct or delete the row, or load with fill="halt", "intersect" or "drop_symbols"'


@pytest.mark.parametrize(
    ("change", "check", "sentence"),
    [
        (
            set_cell(3, "close", ""),
            "not_a_number",
            f"line 5: AAA at 2024-01-04: close, amount missing or not a finite number, expected six numbers; {BAD_ROW}",
        ),
        (
            set_cell(3, "volume", "many"),
            "not_a_number",
            "AAA.csv line 5: AAA at 2024-01-04: volume, amount missing or not a finite number, expected six numbers",
        ),
        (set_cell(2, "open", "inf"), "not_a_number", "line 4: AAA at 2024-01-03: open, amount missing or not a finite"),
        (
            set_cell(2, "low", -1.0),
            "price_not_positive",
            f"AAA.csv line 4: AAA at 2024-01-03: low is -1, expected a positive price; {BAD_ROW}",
        ),
        (set_cell(1, "close", 0.0), "price_not_positive", "line 3: AAA at 2024-01-02: close is 0, expected a positive"),
        (set_cell(0, "high", 50.0), "high_too_low", "line 2: AAA at 2024-01-01: high 50 is below open or close"),
        (set_cell(7, "low", 500.0), "low_too_high", "line 9: AAA at 2024-01-08: low 500 is above open or close"),
        (
            set_cell(4, "volume", -5),
            "negative_volume",
            f"AAA.csv line 6: AAA at 2024-01-05: volume is -5, expected zero or more; {BAD_ROW}",
        ),
        (
            set_cell(4, "date", "5.1.24"),
            "timestamp",
            "AAA.csv line 6: AAA: timestamp is not readable, expected ISO 8601 (2024-01-31 or 2024-01-31T09:30:00Z)",
        ),
        (
            duplicate,
            "duplicated",
            "AAA.csv line 6: AAA at 2024-01-04: timestamp repeats that of line 5, expected one bar per timestamp",
        ),
        (
            swap,
            "unsorted",
            "AAA.csv line 5: AAA at 2024-01-03: timestamp is before the row above; sort the file by time",
        ),
    ],
)
def test_broken_row_is_named(tmp_path, change, check, sentence):
    write_folder(tmp_path, change=change)
    with pytest.raises(BarsError) as error:
        load_bars(tmp_path)
    assert sentence in str(error.value)
    assert checks(error.value.report, "error")[0] == check


def test_missing_and_extra_bars_are_named(tmp_path):
    write_folder(tmp_path, ("AAA", "BBB", "CCC"), change=lambda table: table.drop(index=[2, 5]))
    with pytest.raises(
        BarsError,
        match=r"AAA.csv line 4: AAA at 2024-01-03: has no bar that half of the symbols or more have and 1 more",
    ):
        load_bars(tmp_path)
    write_folder(
        tmp_path, ("AAA", "BBB", "CCC"), change=lambda t: pd.concat([t, t.iloc[-1:].assign(date="2024-01-09")])
    )
    with pytest.raises(
        BarsError, match=r"line 10: AAA at 2024-01-09: has a bar that most symbols lack, expected the same 8"
    ):
        load_bars(tmp_path)


def test_all_errors_are_in_the_report_and_the_report_is_json(tmp_path):
    write_folder(tmp_path, change=lambda t: set_cell(5, "volume", -1)(set_cell(2, "close", "")(t)))
    with pytest.raises(BarsError, match="and 1 more error") as error:
        load_bars(tmp_path)
    report = error.value.report
    assert checks(report, "error") == ["not_a_number", "negative_volume"]
    assert json.loads(json.dumps(report.as_dict()))["findings"][0]["row"] == 4
    assert "error negative_volume: 1\n  " in report.text()


def test_halt_carries_the_last_close(tmp_path):
    write_folder(tmp_path, change=lambda t: set_cell(2, "close", "")(t.drop(index=[0])))
    bars, report = load_bars(tmp_path, fill="halt")
    assert bars.values.shape == (8, 2, 6)
    assert bars.tradable[:, 0].tolist() == [False, True, False, True, True, True, True, True]
    carried = bars.values[1, 0, CLOSE].item()
    assert bars.values[2, 0].tolist() == [carried] * 4 + [0.0, 0.0]
    assert bars.values[0, 0, CLOSE] == frame(0).loc[1, "open"]
    assert bars.values.isfinite().all()
    assert checks(report, "error") == ["not_a_number", "missing_bars"]


def test_intersect_keeps_common_bars(tmp_path):
    write_folder(tmp_path, change=lambda table: set_cell(2, "high", 1.0)(table))
    bars, _ = load_bars(tmp_path, fill="intersect")
    assert bars.values.shape == (7, 2, 6)
    assert bars.tradable.all()


def test_drop_symbols_leaves_out_the_faulty(tmp_path):
    write_folder(tmp_path, change=set_cell(2, "volume", -1))
    bars, report = load_bars(tmp_path, fill="drop_symbols")
    assert bars.symbols == ("BBB",)
    assert report.dropped == ("AAA",)
    with pytest.raises(BarsError, match="fill='drop_symbols' leaves none of 1 symbols"):
        load_bars(tmp_path, fill="drop_symbols", symbols=["AAA"])


def cleared(table):
    """The header alone."""
    return table.iloc[:0]


def all_bad(table):
    return table.assign(close=-1.0)


def one_row(table):
    return table.iloc[2:3]


@pytest.mark.parametrize("fill", ["halt", "intersect", "drop_symbols"])
@pytest.mark.parametrize("change", [cleared, all_bad])
def test_a_symbol_without_a_usable_row_is_left_out_and_named(tmp_path, change, fill):
    for others in (("BBB", "CCC"), ("BBB",)):
        write_folder(tmp_path, ("AAA", *others), change)
        bars, report = load_bars(tmp_path, fill=fill, symbols=["AAA", *others])
        assert (bars.symbols, report.dropped) == (others, ("AAA",))
        assert bars.tradable.all()
        assert len(bars.timestamps) == 8
        assert {finding.symbol for finding in report.errors} == {"AAA"}
        assert "dropped AAA" in report.text()
        assert "AAA.csv" in report.text()


def test_most_symbols_without_a_row_do_not_condemn_the_others(tmp_path):
    for name in ("AAA", "BBB", "CCC"):
        write_folder(tmp_path, (name,), cleared if name != "BBB" else None)
    bars, report = load_bars(tmp_path, fill="drop_symbols")
    assert (bars.symbols, report.dropped) == (("BBB",), ("AAA", "CCC"))
    with pytest.raises(BarsError, match=r"AAA.csv: AAA: has no bar, expected at least one; .* \(and 1 more errors"):
        load_bars(tmp_path)


@pytest.mark.parametrize("fill", ["halt", "intersect", "drop_symbols"])
@pytest.mark.parametrize(("change", "says"), [(cleared, "has no bar"), (all_bad, "close is -1")])
def test_without_any_usable_row_nothing_is_left(tmp_path, change, says, fill):
    write_folder(tmp_path, ("AAA",), change)
    with pytest.raises(BarsError, match=rf"leaves none of 1 symbols; .*AAA.csv.*{says}"):
        load_bars(tmp_path, fill=fill)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("symbol", ["AAA", "BBB"])
def test_an_empty_block_of_a_wide_table_is_a_symbol_without_a_bar(tmp_path, suffix, symbol):
    table = wide_table(True)
    table.loc[:, pd.IndexSlice[:, symbol]] = np.nan
    file = tmp_path / f"download.{suffix}"
    getattr(table, f"to_{suffix}")(file)
    with pytest.raises(
        BarsError, match=rf"download.{suffix}: {symbol}: has no bar, expected at least one; correct the"
    ):
        load_bars(file)
    for fill in ("halt", "intersect", "drop_symbols"):
        bars, report = load_bars(file, fill=fill)
        assert bars.symbols == tuple({"AAA", "BBB"} - {symbol})
        assert report.dropped == (symbol,)
        assert [finding.check for finding in report.errors] == ["no_bars"]


def test_a_wide_table_without_a_row_names_its_symbols(tmp_path):
    wide_table(True).iloc[:0].to_csv(tmp_path / "download.csv")
    with pytest.raises(BarsError, match=r"download.csv: AAA: has no bar, expected at least one.*and 1 more errors"):
        load_bars(tmp_path)


def test_a_symbol_of_one_row(tmp_path):
    write_folder(tmp_path, change=one_row)
    with pytest.raises(
        BarsError, match="AAA at 2024-01-01: has no bar that half of the symbols or more have and 6 more"
    ):
        load_bars(tmp_path)
    bars, report = load_bars(tmp_path, fill="halt")
    assert (bars.symbols, report.dropped) == (("AAA", "BBB"), ())
    assert bars.tradable[:, 0].tolist() == [i == 2 for i in range(8)]
    row = frame(0).to_numpy()[2]
    np.testing.assert_allclose(bars.values[:2, 0, :4], row[0])
    np.testing.assert_allclose(bars.values[3:, 0, :4], row[3])
    assert load_bars(tmp_path, fill="drop_symbols")[0].symbols == ("BBB",)
    with pytest.raises(ValueError, match=r"AAA.csv: the 2 symbols share 1 timestamps.*AAA has the fewest bars, 1"):
        load_bars(tmp_path, fill="intersect")


def test_duplicates_are_kept_once_if_equal_and_never_if_not(tmp_path):
    write_folder(tmp_path, change=duplicate)
    assert load_bars(tmp_path, fill="intersect")[0].values.shape[0] == 8

    def conflict(table):
        table = duplicate(table).reset_index(drop=True)
        table.loc[4, "volume"] += 1
        return table

    write_folder(tmp_path, change=conflict)
    assert load_bars(tmp_path, fill="intersect")[0].values.shape[0] == 7


def test_unsorted_rows_are_sorted_under_a_policy(tmp_path):
    expected, _ = load_bars(write_folder(tmp_path))
    write_folder(tmp_path, change=swap)
    torch.testing.assert_close(load_bars(tmp_path, fill="halt")[0].values, expected.values)


def test_zero_volume_is_not_tradable(tmp_path):
    write_folder(tmp_path, change=set_cell(3, "volume", 0))
    bars, report = load_bars(tmp_path)
    assert checks(report, "warning") == ["zero_volume"]
    assert not bars.tradable[3, 0]
    assert bars.tradable.sum() == 15
    assert bars.values[3, 0, VOLUME] == 0


def test_stale_rows_jumps_and_islands_are_warned_of(tmp_path):
    table = frame(0, 200)
    table.insert(0, "date", pd.date_range("2024-01-01", periods=200).strftime("%Y-%m-%d"))
    prices = ["open", "high", "low", "close"]
    table.loc[50, prices] = table.loc[49, prices].to_numpy()
    table.loc[100, prices] *= 1.15  # one row of another symbol
    table.loc[150:, prices] *= 0.4  # a spin-off
    table.to_csv(tmp_path / "AAA.csv", index=False)
    _, report = load_bars(tmp_path)
    assert [(finding.check, finding.row) for finding in report.findings] == [
        ("stale", 52),
        ("reverting_jump", 102),
        ("jump", 152),
    ]
    assert report.errors == ()
    assert "unadjusted split or spin-off" in report.findings[2].remedy


def test_long_hole_of_the_calendar_is_warned_of(tmp_path):
    write_folder(tmp_path, ("AAA",), change=lambda t: t.assign(date=[*t.date[:7], "2024-02-01"]))
    _, report = load_bars(tmp_path)
    assert [str(finding) for finding in report.findings] == [
        f"{tmp_path / 'AAA.csv'}: all at 2024-01-07: no symbol has a bar for 25 days from here; "
        "check that the source is complete there"
    ]


def test_many_findings_are_counted(tmp_path):
    table = frame(0, 300).assign(volume=0)
    table.insert(0, "date", pd.date_range("2024-01-01", periods=300))
    table.to_csv(tmp_path / "AAA.csv", index=False)
    _, report = load_bars(tmp_path)
    assert len(report.findings) == 101
    assert report.findings[-1].message == "the same in 200 more rows"
    assert "... and 96 more" in report.text()


def test_adjusted_close_is_never_mixed_silently(tmp_path):
    write_folder(tmp_path, change=lambda table: table.assign(**{"Adj Close": table.close * 0.5}))
    with pytest.raises(
        ValueError, match=r"AAA.csv line 2: the adjusted close differs from the close, .* adjusted=True"
    ):
        load_bars(tmp_path)
    raw, _ = load_bars(tmp_path, adjusted=False)
    np.testing.assert_allclose(raw.values[:, 0, :5], frame(0).to_numpy())
    with pytest.raises(ValueError, match=r"BBB.csv: adjusted=True, but there is no adjusted close"):
        load_bars(tmp_path, adjusted=True)
    (tmp_path / "BBB.csv").unlink()
    scaled, _ = load_bars(tmp_path, adjusted=True)
    torch.testing.assert_close(scaled.values[:, 0, :4], raw.values[:, 0, :4] * 0.5)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "found no rows, expected a header and one line per bar"),
        ("date,open,high,low,close,volume\n", "AAA: has no bar, expected at least one; correct the symbol"),
        ("date,symbol,open,high,low,close,volume\n", "found no rows, expected a header and one line per bar"),
        (
            "date,open,high,low,close\n2024-01-01,1,1,1,1\n",
            "no volume column among 'date', 'open', 'high', 'low', 'close'",
        ),
        ("open,high,low,close,volume\n1,1,1,1,1\n", "no time column among 'open', 'high', 'low', 'close', 'volume'"),
        ("1704067200000,1,2,1,2,5\n1704153600000,1,2,1,2,5\n", "no time column among '1704067200000', '1'"),
        ("date,open,high,low,close,volume\n2024-01-01,1,1,1,1\n", "line 2: 5 cells under a header of 6"),
        ("date;open;high;low;close;volume\n2024-01-01;1;1;1;1;1\n", "no time column among 'date;open;"),
        ("date,open,high,low,close,volume,vol,close\n2024-01-01,1,1,1,1,1,1,1\n", "column 'close' appears 2 times"),
        ("date,symbol,open,high,low,close,volume\n2024-01-01,,1,1,1,1,1\n", "line 2: the symbol is empty"),
        ("date,open,high,low,close,volume\n2024-01-01,1,1,1,1,1\n", "share 1 timestamps, expected at least 2"),
    ],
)
def test_broken_file_is_named(tmp_path, text, sentence):
    (tmp_path / "AAA.csv").write_text(text)
    with pytest.raises(ValueError, match=r"AAA|symbols") as error:
        load_bars(tmp_path)
    assert sentence in str(error.value)


def test_wrong_paths_and_arguments(tmp_path):
    with pytest.raises(ValueError, match=r"nothing: found no bars; give a .csv or .csv.gz or .parquet or .pq file"):
        load_bars(tmp_path / "nothing")
    with pytest.raises(ValueError, match="fill is 'guess', expected one of error, halt, intersect, drop_symbols"):
        load_bars(tmp_path, fill="guess")
    with pytest.raises(ValueError, match="dt is 0, expected a positive bar length in trading days"):
        load_bars(tmp_path, dt=0)
    (tmp_path / "AAA.parquet").write_text("no parquet")
    with pytest.raises(ValueError, match=r"AAA.parquet: not a Parquet file"):
        load_bars(tmp_path)


def test_a_symbol_in_two_files_is_refused(tmp_path):
    write_folder(tmp_path, change=lambda table: table.assign(symbol="BBB"))
    with pytest.raises(ValueError, match=r"BBB.csv: symbol BBB is also in .*AAA.csv, expected one file per symbol"):
        load_bars(tmp_path)


def test_split_is_in_time_order_with_an_embargo(tmp_path):
    table = frame(0, 100)
    table.insert(0, "date", pd.date_range("2024-01-01", periods=100))
    table.to_csv(tmp_path / "AAA.csv", index=False)
    bars, _ = load_bars(tmp_path)
    train, validation, test = split(bars, (0.5, 0.25, 0.25), embargo=5)
    assert [len(part.timestamps) for part in (train, validation, test)] == [50, 20, 20]
    assert torch.equal(validation.timestamps, bars.timestamps[55:75])
    assert torch.equal(test.values, bars.values[80:])
    with pytest.raises(ValueError, match=r"100 bars split by .* with an embargo of 30 leave an empty part"):
        split(bars, (0.5, 0.25, 0.25), embargo=30)
    with pytest.raises(ValueError, match="expected three positive numbers that sum to 1"):
        split(bars, (0.5, 0.5, 0.5))


@pytest.mark.parametrize("wide", [False, True])
def test_a_frame_is_read_as_its_parquet_file(tmp_path, wide):
    table = wide_table(field_first=True) if wide else long_table()
    table.to_parquet(tmp_path / "bars.parquet")
    from_file, file_report = load_bars(tmp_path / "bars.parquet")
    from_frame, report = load_bars(table)
    assert_same_bars(from_frame, from_file)
    assert report == file_report


@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_frames_by_symbol_are_the_files_by_symbol(tmp_path, zone):
    """The index is the time; a name with a dot is kept whole, which a file name could not."""
    days = DAYS.tz_localize(zone)
    frames = {name: frame(i).set_index(days) for i, name in enumerate(("AAA", "BRK.B"))}
    bars, _ = load_bars(frames)
    expected, _ = load_bars(write_folder(tmp_path))
    assert bars.symbols == ("AAA", "BRK.B")
    hours = {None: 0, "UTC": 0, "America/New_York": 5}[zone]
    assert_same_bars(
        bars, expected._replace(symbols=bars.symbols, timestamps=expected.timestamps + hours * 3_600_000_000)
    )


def test_a_finding_in_a_frame_names_symbol_and_row():
    frames = {name: frame(i).set_index(DAYS) for i, name in enumerate(("AAA", "BBB"))}
    frames["BBB"].loc[DAYS[2], "high"] = 1.0
    with pytest.raises(BarsError, match=r"DataFrame BBB line 3: BBB at 2024-01-03: high 1 is below") as error:
        load_bars(frames)
    assert [(finding.symbol, finding.row) for finding in error.value.report.errors] == [("BBB", 3)]
    assert load_bars(frames, fill="intersect")[0].values.shape == (7, 2, 6)


def test_bars_become_a_frame_that_reads_back_the_same():
    frames = {name: frame(i).set_index(DAYS) for i, name in enumerate(("BBB", "AAA"))}
    frames["AAA"] = frames["AAA"].drop(DAYS[3])
    bars, _ = load_bars(frames, fill="halt", symbols=["BBB", "AAA"])
    table = bars.to_frame()
    assert list(table["symbol"]) == ["BBB"] * 8 + ["AAA"] * 8
    assert table["tradable"].sum() == 15
    assert_same_bars(load_bars(table, symbols=["BBB", "AAA"])[0], bars)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (7, "bars come from a int, expected a path, a pandas DataFrame, or a dict of DataFrames by symbol"),
        ({}, "the dict of DataFrames is empty"),
        ({"AAA": [1, 2]}, "bars come from a list"),
        (frame().set_index(DAYS), "it names no symbol; add a column symbol"),
        ({"AAA": long_table()}, r"DataFrame AAA: it holds 2 symbols \(AAA, BBB\); give it alone"),
        ({"AAA": frame()}, "DataFrame AAA: no time column"),
        ({"AAA": frame().set_index(DAYS).drop(columns="volume")}, "DataFrame AAA: no volume column"),
        ({"AAA": frame()[:0]}, "DataFrame AAA: found no rows"),
        ({"AAA": frame(columns=["open", "open", "low", "close", "volume"])}, "DataFrame AAA: Duplicate column names"),
        ({"AAA": frame().assign(low=["x", *range(7)])}, "column low"),
    ],
)
def test_what_is_no_frame_of_bars_is_refused(source, message):
    with pytest.raises(UserError, match=message):
        load_bars(source)


def assert_same_bars(bars, expected):
    for name in ("values", "tradable", "timestamps"):
        assert torch.equal(getattr(bars, name), getattr(expected, name)), name
    assert (bars.symbols, bars.dt) == (expected.symbols, expected.dt)
