"""Command lines, and the one message for each bad one."""

import pytest

from sdbuild.engine.arguments import Options, parse
from sdbuild.engine.dodo import own_arguments
from sdbuild.engine.quantities import seconds, size_bytes
from sdbuild.errors import UserError

COMMANDS = "Commands: build, plan, why, validate, list, check, gc, clean, verify, generate"
NO_MORE = "there is nothing more to print: a stage that fails names its log. For the version: --version"
OPTIONS = "Options: -n N (stages at once), -c (go on after a failure)"

BAD = {
    "biuld": f"unknown command 'biuld': did you mean 'build'?\n{COMMANDS}",
    "BUILD": f"unknown command 'BUILD': did you mean 'build'?\n{COMMANDS}",
    "xyzzy": f"unknown command 'xyzzy'\n{COMMANDS}",
    "convrt:unet": f"unknown command 'convrt:unet': did you mean 'convert'?\n{COMMANDS}",
    "configs/shapes.yaml": f"unknown command 'configs/shapes.yaml'\n{COMMANDS}",
    "build \x1b[31m": f"unknown command '\\x1b[31m'\n{COMMANDS}",
    "build confg=x": "unknown variable 'confg': did you mean 'config'?\n`build` takes config=, variant=",
    "confg=x": "unknown variable 'confg': did you mean 'config'?\n`build` takes config=, variant=",
    "build recipe=x": "unknown variable 'recipe'\n`build` takes config=, variant=",
    "build task=unet": "unknown variable 'task'\n`build` takes config=, variant=",
    "convert:unet dry=1": "unknown variable 'dry'\n`convert:unet` takes config=, variant=",
    "why tsk=unet": "unknown variable 'tsk': did you mean 'task'?\n`why` takes config=, variant=, task=",
    "list config=x": "unknown variable 'config'\n`list` takes no variables",
    "gc config=x": "unknown variable 'config'\n`gc` takes older=, max=, dry=",
    "validate variant=x": "unknown variable 'variant'\n`validate` takes config=",
    "build =x": "unknown variable ''\n`build` takes config=, variant=",
    "build config=": "config= is empty; the recipe: a path, or a name from `list` (without it: shapes)",
    "build config=a config=b": "config= is given twice",
    "gc dry=yes": "dry=yes: write dry=1 to be told only, or leave it out",
    "gc older=30": "older=30: write a number and its unit, minutes, hours, days or weeks: 90m, 12h, 30d, 2w",
    "gc older=-1d": "older=-1d: write a number and its unit, minutes, hours, days or weeks: 90m, 12h, 30d, 2w",
    "gc older=٣d": "older=٣d: write a number and its unit, minutes, hours, days or weeks: 90m, 12h, 30d, 2w",
    "gc older=1y": "older=1y: write a number and its unit, minutes, hours, days or weeks: 90m, 12h, 30d, 2w",
    "gc max=20": "max=20: write a number and its unit, kB, MB, GB or TB: 500MB, 20GB",
    "gc max=": "max= is empty; how large the store may be after it: 500MB, 20GB; what recipes in use need goes last",
    f"gc max={'9' * 400}GB": f"max={'9' * 40}: write a number and its unit, kB, MB, GB or TB: 500MB, 20GB",
    "build -n": "-n: say how many stages may run at once, 1 to 256, such as -n 2",
    "build -n 0": "-n 0: say how many stages may run at once, 1 to 256, such as -n 2",
    "build -n two": "-n two: say how many stages may run at once, 1 to 256, such as -n 2",
    "build --process=-1": "--process -1: say how many stages may run at once, 1 to 256, such as -n 2",
    "build -n 1000": "-n 1000: say how many stages may run at once, 1 to 256, such as -n 2",
    f"-n {'9' * 5000}": f"-n {'9' * 79}…: say how many stages may run at once, 1 to 256, such as -n 2",
    "-v": f"-v: {NO_MORE}",
    "build -v 2": f"-v: {NO_MORE}",
    "--verbosity=2": f"--verbosity: {NO_MORE}",
    "build --proces 2": f"unknown option '--proces': did you mean '--process'?\n{OPTIONS}",
    "build -j 4": f"unknown option '-j'\n{OPTIONS}",
    "build --config x": f"unknown option '--config'\n{OPTIONS}",
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


@pytest.mark.parametrize(("text", "expected"), [("500MB", 5e8), ("20gb", 2e10), ("0.5 TB", 5e11), ("0kB", 0)])
def test_sizes(text: str, expected: float) -> None:
    assert size_bytes("max", text) == expected


def test_good_command_lines() -> None:
    arguments = parse(["build", "config=a=b.yaml", "variant=small", "-n4", "-c"])
    assert arguments.words == ("build",)
    assert arguments.variables == {"config": "a=b.yaml", "variant": "small"}
    assert arguments.options == Options(jobs=4, keep_going=True)
    assert parse(["--process=2", "compress:unet@6bit", "bundle"]).options == Options(jobs=2)
    assert parse([]).builds and parse(["trace"]).builds and parse(["config=x"]).builds
    assert not parse(["plan"]).builds and not parse(["why", "task=convert:unet"]).builds


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
        ("-v", "-v"),
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
