from benchmarks.pass_cost import main


def test_table(capsys):
    assert main(["--layers", "1", "2", "--rounds", "1"]) == 0
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()]
    rows = [row for row in rows if row[0] in ("decoder", "no attention")]
    assert [row[:3] for row in rows] == [
        ["decoder", "1", "1"],
        ["decoder", "2", "2"],
        ["no attention", "1", "0"],
        ["no attention", "2", "0"],
    ]
    for _, layers, _, compilation, milliseconds, microseconds_a_layer, percent in rows:
        assert float(compilation) > 0
        assert abs(float(microseconds_a_layer) * int(layers) / 1e3 - float(milliseconds)) < 0.01
        assert 0 <= float(percent) < 100
