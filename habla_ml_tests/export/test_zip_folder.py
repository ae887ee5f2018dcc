from pathlib import Path

from habla_ml.export.zip_folder import zip_folder


def test_the_same_folder_is_the_same_archive_whatever_its_dates(tmp_path: Path) -> None:
    archives = []
    for at, order in enumerate((["b", "a"], ["a", "b"])):
        folder = tmp_path / str(at)
        folder.mkdir()
        for name in order:
            (folder / name).write_text(name)
            (folder / name).chmod(0o600 + at)
        archives.append(zip_folder(folder, tmp_path / f"{at}.zip").read_bytes())
    assert archives[0] == archives[1]
