"""Command lines, and the one message for each bad one."""

from pathlib import Path

import pytest

from sdbuild.engine import commands
from sdbuild.engine.arguments import Options, parse
from sdbuild.engine.command import CONFIG
from sdbuild.engine.dodo import own_arguments
from sdbuild.errors import UserError
from sdbuild.quantities import seconds, size_bytes
from sdbuild.recipe import RecipeError
from sdbuild.recipe.files import configs_folder, names_in

COMMANDS = f"Commands: {', '.join(commands.names())}"
UNITS = "write a number and its unit, kB, MB, GB or TB (GiB and the like are understood): 500MB, 20GB"
MORE = "write -v for more, -q for less; for the version --version"
OPTIONS = "Options: -n N (stages at once), -c (go on after a failure), -v (more), -q (less)"
BUILD = "`build` takes config=, variant=, out=, log=, json="

BAD = {
    "biuld": f"unknown command 'biuld': did you mean 'build'?\n{COMMANDS}",
    "BUILD": f"unknown command 'BUILD': did you mean 'build'?\n{COMMANDS}",
    "xyzzy": f"unknown command 'xyzzy'\n{COMMANDS}",
    "convrt:unet": f"unknown command 'convrt:unet': did you mean 'convert'?\n{COMMANDS}",
    "configs/shapes.yaml": "unknown command 'configs/shapes.yaml': it is a recipe, which `build configs/shapes.yaml` builds",
    "shapes": "unknown command 'shapes': it is a recipe, which `build shapes` builds",
    "\x1b[31m": f"unknown command '\\x1b[31m'\n{COMMANDS}",
    "build convrt:unet": f"unknown command 'convrt:unet': did you mean 'convert'?\n{COMMANDS}",
    "plan convert:unet": "`plan` takes a recipe, and 'convert:unet' is a task, which `build` and `why` take",
    "plan config": "`plan` takes a recipe, and 'config' is a task, which `build` and `why` take",
    "plan configs": f"config=configs is a folder, not a recipe. Recipes in it: {', '.join(names_in(configs_folder()))}.",
    "plan ./q=1/x.yaml": "'./q' is no variable: if './q=1/x.yaml' is the recipe, write config=./q=1/x.yaml",
    "build shapes config=x": "config= is given twice",
    "build shapes sdxl-ios": "config= is given twice",
    "gc shapes": "`gc` takes no 'shapes'; see `help gc`",
    "build confg=x": f"unknown variable 'confg': did you mean 'config'?\n{BUILD}",
    "confg=x": f"unknown variable 'confg': did you mean 'config'?\n{BUILD}",
    "build recipe=x": f"unknown variable 'recipe'\n{BUILD}",
    "build task=unet": f"unknown variable 'task'\n{BUILD}",
    "convert:unet dry=1": "unknown variable 'dry'\n`convert:unet` takes config=, variant=, out=, log=, json=",
    "why tsk=unet": "unknown variable 'tsk': did you mean 'task'?\n`why` takes config=, variant=, task=, json=",
    "list config=x": "unknown variable 'config'\n`list` takes json=",
    "gc config=x": "unknown variable 'config'\n`gc` takes older=, max=, dry=, json=",
    "validate variant=x": "unknown variable 'variant'\n`validate` takes config=, json=",
    "build =x": f"unknown variable ''\n{BUILD}",
    "build config=": "config= is empty; the recipe: a path, or a name from `list` (without it: shapes)",
    "build config=a config=b": "config= is given twice",
    "gc dry=yes": "dry=yes: write dry=1 or leave it out; dry=1: only print what would be removed, and remove nothing",
    "gc older=30": "older=30: write a number and its unit, minutes, hours, days or weeks: 90m, 12h, 30d, 2w",
    "gc older=-1d": "older=-1d: write a number and its unit, minutes, hours, days or weeks: 90m, 12h, 30d, 2w",
    "gc older=٣d": "older=٣d: write a number and its unit, minutes, hours, days or weeks: 90m, 12h, 30d, 2w",
    "gc older=1y": "older=1y: write a number and its unit, minutes, hours, days or weeks: 90m, 12h, 30d, 2w",
    "gc max=20": f"max=20: {UNITS}",
    "gc max=": "max= is empty; how large the store may be after it: 500MB, 20GB; what recipes in use need goes last",
    f"gc max={'9' * 400}GB": f"max={'9' * 40}: {UNITS}",
    "build -n": "-n: say how many stages may run at once, 1 to 256, such as -n 2",
    "build -n 0": "-n 0: say how many stages may run at once, 1 to 256, such as -n 2",
    "build -n two": "-n two: say how many stages may run at once, 1 to 256, such as -n 2",
    "build --process=-1": "--process -1: say how many stages may run at once, 1 to 256, such as -n 2",
    "build -n 1000": "-n 1000: say how many stages may run at once, 1 to 256, such as -n 2",
    f"-n {'9' * 5000}": f"-n {'9' * 79}…: say how many stages may run at once, 1 to 256, such as -n 2",
    "build -v2": f"-v2: {MORE}",
    "--verbosity=2": f"--verbosity: {MORE}",
    "build -v --quiet": "-v and -q: print more or less, not both",
    "build --proces 2": f"unknown option '--proces': did you mean '--process'?\n{OPTIONS}",
    "build -j 4": f"unknown option '-j'\n{OPTIONS}",
    "build --confg x": f"unknown option '--confg': did you mean '--config'?\n{OPTIONS}",
    "build --config": f"--config: its value is missing; {CONFIG.meaning}",
    "build --config --variant x": f"--config: its value is missing; {CONFIG.meaning}",
    "gc --config x": "unknown variable 'config'\n`gc` takes older=, max=, dry=, json=",
    "build --dry": f"unknown variable 'dry'\n{BUILD}",
    "plan gc": "`plan` stands alone: give one command at a time",
    "build clean": "`clean` stands alone: give one command at a time",
}


@pytest.mark.parametrize("line", BAD)
def test_bad_command_lines(line: str) -> None:
    with pytest.raises(UserError) as error:
        parse(line.split())
    assert str(error.value) == BAD[line]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90m", 5400), ("12h", 43200), ("30d", 2592000), ("1.5D", 129600), ("2w", 1209600), ("0d", 0)],
)
def test_lengths_of_time(text: str, expected: float) -> None:
    assert seconds("older", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("500MB", 5e8), ("20gb", 2e10), ("0.5 TB", 5e11), ("0kB", 0), ("1.5 GiB", 3 << 29), ("7b", 7)],
)
def test_sizes(text: str, expected: float) -> None:
    assert size_bytes("max", text) == expected


def test_good_command_lines() -> None:
    arguments = parse(["build", "config=a=b.yaml", "variant=small", "-n4", "-c", "-q"])
    assert arguments.words == ("build",)
    assert arguments.variables == {"config": "a=b.yaml", "variant": "small"}
    assert arguments.options == Options(jobs=4, keep_going=True, quiet=True)
    assert parse(["--process=2", "compress:unet@6bit", "bundle", "-v"]).options == Options(jobs=2, verbose=True)
    assert [parse(line.split()).command for line in ("", "trace", "config=x", "plan", "why task=trace")] == [
        "build",
        "build",
        "build",
        "plan",
        "why",
    ]


@pytest.mark.parametrize(
    ("line", "own"),
    [
        ("run -n 2 build config=x", "-n 2 build config=x"),
        ("-f ../dodo.py -n 2 build", "-n 2 build"),
        ("--file=../dodo.py -k plan", "plan"),
        ("-n 2 -P thread build", "-n 2 build"),
        ("--parallel-type=thread build", "build"),
        ("--db-file x build", "build"),
        ("info build", "info build"),
        ("-c build", "-c build"),
    ],
)
def test_what_only_doit_has_to_know_is_left_out(line: str, own: str) -> None:
    assert own_arguments(line.split()) == own.split()


@pytest.mark.parametrize(
    "option", ["-P process", "-Pprocess", "--parallel-type=process", "-a", "-s", "--single", "-r json"]
)
def test_options_of_doit_that_cant_work_here_are_refused(option: str) -> None:
    with pytest.raises(UserError, match=rf"^{option.split('=')[0].split()[0][:2]}"):
        own_arguments([*option.split(), "build"])


RECIPES = {
    "build mine.yaml": (("build",), {"config": "mine.yaml"}),
    "build mine": (("build",), {"config": "mine"}),
    "plan shapes variant=6bit": (("plan",), {"config": "shapes", "variant": "6bit"}),
    "convert:unet mine.yaml": (("convert:unet",), {"config": "mine.yaml"}),
    "build convert:unet mine": (("build", "convert:unet"), {"config": "mine"}),
    "why convert:unet mine": (("why",), {"config": "mine", "task": "convert:unet"}),
    "why verify mine": (("why",), {"config": "mine", "task": "verify"}),
    "plan trace": (("plan",), {"config": "trace"}),
    "build trace config=mine": (("build", "trace"), {"config": "mine"}),
    "build ./trace": (("build",), {"config": "./trace"}),
    "--config mine plan --variant=x": (("plan",), {"config": "mine", "variant": "x"}),
    "gc --dry --max 2GB": (("gc",), {"dry": "1", "max": "2GB"}),
    "help build": (("help",), {"command": "build"}),
    "help convert:unet": (("help",), {"command": "convert:unet"}),
}


@pytest.mark.parametrize("line", RECIPES)
def test_words_that_stand_alone_and_variables_as_options(tmp_path: Path, line: str) -> None:
    for name in ("mine", "trace"):
        (tmp_path / f"{name}.yaml").touch()
    arguments = parse(line.split(), tmp_path)
    assert (arguments.words, arguments.variables) == RECIPES[line]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "plan --jsn",
            "unknown option '--jsn': did you mean '--json'?\nOptions of `plan`: --config, --variant, --out, --json",
        ),
        ("build --continu", "unknown option '--continu': did you mean '--continue'?\nOptions: -n N"),
        (
            "gc --mix",
            "unknown option '--mix': did you mean '--max'?\nOptions of `gc`: --older, --max, --dry, --json, --help",
        ),
        ("gc max=lots older=", "max=lots: write a number and its unit"),
        ("gc max=lots older=", "\nolder= is empty; "),
        (
            "plan confg=x varient=y",
            "'confg': did you mean 'config'?\n`plan` takes config=, variant=, out=, json=\nunknown variable",
        ),
    ],
)
def test_mistakes_are_reported_together_and_with_what_the_command_takes(line: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        parse(line.split())
    assert message in str(error.value)


def test_a_word_that_is_a_task_and_a_recipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "trace.yaml").touch()
    for line in ("build trace", "why trace", "convert trace"):
        with pytest.raises(UserError, match="'trace' is a task, and a recipe: for the recipe write config=trace"):
            parse(line.split(), tmp_path)
    (tmp_path / "gc.yaml").touch()
    with pytest.raises(UserError, match=r"stands alone: .* write config=gc"):
        parse(["plan", "gc"], tmp_path)


def test_a_recipe_that_is_not_there_is_reported_as_such(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"^No recipe 'shpaes': .* Did you mean 'shapes'"):
        parse(["build", "shpaes"], tmp_path)
    with pytest.raises(RecipeError, match=r"^No recipe './trace.yaml'"):
        parse(["build", "./trace.yaml"], tmp_path)
