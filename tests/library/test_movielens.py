import zipfile

import pandas as pd
import pytest

from tfrs_himirec import config, errors
from tfrs_himirec.raw import importer
from tfrs_himirec.schema import raw


def _run(path, tmp_path) -> tuple[pd.DataFrame, pd.DataFrame]:
    data = config.Data(source="movielens", raw=str(path))
    importer.run(data, tmp_path / "run" / "raw", progress=False)
    log, items = raw.paths(tmp_path / "run" / "raw")
    return pd.read_parquet(log), pd.read_parquet(items)


def _movielens(layout: str) -> dict[str, str]:
    if layout == "ml-1m":
        return {
            "ratings.dat": "2::5::4::30\n1::5::3::20\n1::9::5::10\n",
            "movies.dat": "5::Café :: Nights (1999)::Drama|War\n"
            "9::Robots (2001)::Sci-Fi\n",
        }
    flags = ["0"] * 19
    drama = "|".join(flags[:8] + ["1"] + flags[9:17] + ["1"] + flags[18:])
    sci_fi = "|".join(flags[:15] + ["1"] + flags[16:])
    return {
        "u.data": "2\t5\t4\t30\n1\t5\t3\t20\n1\t9\t5\t10\n",
        "u.item": f"5|Café :: Nights (1999)|d||url|{drama}\n"
        f"9|Robots (2001)|d||u|{sci_fi}\n",
    }


@pytest.mark.parametrize("layout", ["ml-1m", "ml-100k"])
@pytest.mark.parametrize("folder", ["", "inner/"])
@pytest.mark.parametrize("packed", [True, False])
def test_movielens(tmp_path, layout, folder, packed):
    path = tmp_path / "archive"
    contents = {k: v.encode("latin-1") for k, v in _movielens(layout).items()}
    if packed:
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in contents.items():
                archive.writestr(folder + name, content)
    else:
        (path / folder).mkdir(parents=True)
        for name, content in contents.items():
            (path / folder / name).write_bytes(content)
    log, items = _run(path, tmp_path)
    assert log.to_numpy().tolist() == [[2, 5, 30, 4], [1, 5, 20, 3], [1, 9, 10, 5]]
    assert items.title.tolist() == ["Café :: Nights (1999)", "Robots (2001)"]
    assert items.text.tolist() == ["Café :: Nights Drama War", "Robots Sci-Fi"]
    assert [list(tags) for tags in items.tags] == [["Drama", "War"], ["Sci-Fi"]]


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("ratings.dat", "1::5::x::1\n", "ratings.dat: line 1: column 'Rating'"),
        ("ratings.dat", "1::5::1::1\n1::5\n", "line 2: expected 4 columns, received 2"),
        ("movies.dat", "5::A::B\n\n9::lost\n", "movies.dat: line 3: not a film"),
        ("movies.dat", "5::A::B\n5::C::D\n", "line 2: item id 5 stands already in"),
    ],
)
def test_malformed_movielens(tmp_path, name, content, match):
    for file, text in _movielens("ml-1m").items():
        (tmp_path / file).write_text(text, encoding="latin-1")
    (tmp_path / name).write_text(content)
    with pytest.raises(errors.HimirecError, match=match):
        _run(tmp_path, tmp_path)


def test_archives_of_another_layout(tmp_path):
    path = tmp_path / "ml.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ml-25m/ratings.csv", "")
    with pytest.raises(errors.HimirecError, match=r"neither.*found.*ratings\.csv"):
        _run(path, tmp_path)
    path.write_text("no zip")
    with pytest.raises(errors.HimirecError, match="not a zip archive"):
        _run(path, tmp_path)
