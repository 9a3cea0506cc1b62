import pathlib
import typing

import pydantic
import pytest
import yaml

from tfrs_himirec import config, errors

CONFIGS = sorted((pathlib.Path(__file__).parents[2] / "configs").glob("*.yaml"))


def _models(model=config.Run, prefix=()) -> list[tuple[str, ...]]:
    """Keys that lead to every settings model, the run itself included."""
    found = [prefix]
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
            found += _models(kind, (*prefix, name))
    return found


def _numbers(model=config.Run, prefix=()) -> list[tuple[str, ...]]:
    """Keys of every number that has a range."""
    found = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
            found += _numbers(kind, (*prefix, name))
        elif field.metadata and kind in (int, float):
            found.append((*prefix, name))
    return found


def _load(folder: pathlib.Path, keys: tuple[str, ...], value) -> config.Run:
    for key in reversed(keys):
        value = {key: value}
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump(value))
    return config.load(path)


def test_the_walk_meets_all_settings():
    assert (
        len(_models())
        == sum(
            isinstance(value, type) and issubclass(value, config.Settings)
            for value in vars(config).values()
        )
        - 1
    )  # but their base


@pytest.mark.parametrize("keys", _models(), ids=".".join)
def test_an_unknown_key_is_named(tmp_path, keys):
    name = ".".join((*keys, "wrong_key"))
    with pytest.raises(errors.HimirecError, match=f"unknown key '{name}'") as caught:
        _load(tmp_path, (*keys, "wrong_key"), 1)
    assert "settings.yaml" in str(caught.value)


@pytest.mark.parametrize("keys", _numbers(), ids=".".join)
def test_a_number_out_of_range_is_named(tmp_path, keys):
    name = ".".join(keys)
    with pytest.raises(errors.HimirecError, match=f"{name}: .*received -1"):
        _load(tmp_path, keys, -1)


@pytest.mark.parametrize("keys", _models()[1:], ids=".".join)
def test_a_section_that_is_no_section_is_named(tmp_path, keys):
    with pytest.raises(errors.HimirecError, match=f"{'.'.join(keys)}: "):
        _load(tmp_path, keys, "text")


def test_a_choice_lists_what_is_expected(tmp_path):
    with pytest.raises(errors.HimirecError, match="towers.loss: .*'softmax' or 'bce'"):
        _load(tmp_path, ("towers", "loss"), "hinge")


def test_an_empty_file_gives_the_defaults(tmp_path):
    (tmp_path / "empty.yaml").touch()
    assert config.load(tmp_path / "empty.yaml") == config.Run()


def test_settings_survive_json(tmp_path):
    run = _load(tmp_path, ("evaluate", "at"), [5, 10])
    assert run.evaluate.at == (5, 10)
    (tmp_path / "run.json").write_text(run.model_dump_json())
    assert config.load(tmp_path / "run.json") == run


def test_settings_cannot_be_changed():
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        config.Run().generator.dim = 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [1", "not valid YAML"),
        ("- 1", "settings.yaml: "),
        ("text", "settings.yaml"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path, content, message):
    (tmp_path / "settings.yaml").write_text(content)
    with pytest.raises(errors.HimirecError, match=message):
        config.load(tmp_path / "settings.yaml")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(errors.HimirecError, match=r"none\.yaml: no such config"):
        config.load(tmp_path / "none.yaml")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_the_configurations_of_the_repository_are_valid(path):
    assert config.load(path) != config.Run()


def test_every_setting_has_a_default():
    for keys in _models():
        model = config.Run
        for key in keys:
            model = typing.cast(type, model.model_fields[key].annotation)
        assert not any(f.is_required() for f in model.model_fields.values())
