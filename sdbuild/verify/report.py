"""What was measured, as JSON, as a table, and against what was asked for.

Keys of ``verify.json`` (PSNR in dB, to 0.01; null for what is not finite)::

    schema      1
    precision   of the artifacts' arithmetic: float32 or float16
    components  by name: min_psnr, asked for (null: nothing); stages, in the order they were built, the last one ships:
        stage       its name
        psnr        against PyTorch, the lowest of all inputs and outputs
        own_psnr    against what the stage before gave, of the first stage against PyTorch
        outputs     by name: the lowest psnr and its case, the largest max_error (a share of the original's largest
                    magnitude), the lowest cosine
    image       null where none was generated; prompt, seed, steps, guidance, scheduler if the recipe names one; psnr against
                PyTorch's image, white being the peak; min_psnr, asked for (null: nothing)
"""

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sdbuild.errors import ShortfallError
from sdbuild.verify.metrics import Difference

_SCHEMA = 1
_UNCHANGED = 80.0
"""dB between what ``chunk`` or ``compile`` was given and what it gave: they rearrange a program, and compute nothing else."""


@dataclass(frozen=True)
class Worst:
    """The worst of several cases, for one output; ``case`` is that of the lowest PSNR."""

    difference: Difference
    case: str

    @classmethod
    def of(cls, cases: Mapping[str, Difference]) -> "Worst":
        """The lowest PSNR and cosine and the largest error among differences by name of case."""
        case = min(cases, key=lambda name: cases[name].psnr)
        error, cosine = max(d.max_error for d in cases.values()), min(d.cosine for d in cases.values())
        return cls(Difference(cases[case].psnr, error, cosine), case)


@dataclass(frozen=True)
class Measured:
    """What a stage left of a component.

    Attributes:
        stage: its name.
        outputs: by output, against PyTorch.
        own_psnr: dB of the worst output against what the stage before gave (of the first stage: PyTorch). The lowest one of
            a component tells which stage lost most.
        run: False where nothing was run, since program and weights are those of the stage before.
    """

    stage: str
    outputs: Mapping[str, Worst]
    own_psnr: float
    run: bool = True

    @property
    def worst(self) -> Worst:
        """The output with the lowest PSNR."""
        return min(self.outputs.values(), key=lambda worst: worst.difference.psnr)

    @property
    def psnr(self) -> float:
        """The lowest PSNR, in dB."""
        return self.worst.difference.psnr


def write_measured(measured: Sequence[Measured], path: Path) -> None:
    """Keep what was measured of a component, without rounding."""
    path.write_text(json.dumps([asdict(each) for each in measured], ensure_ascii=False), encoding="utf-8")


def read_measured(path: Path) -> list[Measured]:
    """Read what `write_measured` wrote."""
    return [
        Measured(
            each["stage"],
            {
                output: Worst(Difference(**worst["difference"]), worst["case"])
                for output, worst in each["outputs"].items()
            },
            each["own_psnr"],
            each["run"],
        )
        for each in json.loads(path.read_text(encoding="utf-8"))
    ]


def kept(min_converted_psnr: float) -> dict[str, float]:
    """What stages must keep of what they were given, in dB. Weights rounded to float16 cost ``convert`` some, a fault more."""
    return {"convert": min_converted_psnr, "chunk": _UNCHANGED, "compile": _UNCHANGED}


@dataclass(frozen=True)
class Report:
    """What was measured.

    Attributes:
        precision: of the models' arithmetic, "float32" or "float16".
        components: by name, the stages in the order they were built.
        image: PSNR in dB of the bundle's image against PyTorch's, the peak being white; None where none was generated.
        generated: how that image was generated.
        min_psnr: what was asked for, in dB, of what ships, by component, and for "image".
        keeps: what a stage must keep of what it was given, in dB, whatever is asked for in the end.
    """

    precision: str
    components: Mapping[str, Sequence[Measured]]
    image: float | None
    generated: Mapping[str, Any]
    min_psnr: Mapping[str, float]
    keeps: Mapping[str, float]

    def json(self) -> str:
        """The report as JSON, the same for the same artifacts: keys sorted, numbers rounded, null for what is not finite."""
        components = {
            name: {
                "min_psnr": self.min_psnr.get(name),
                "stages": [
                    {
                        "stage": stage.stage,
                        "psnr": _finite(stage.psnr),
                        "own_psnr": _finite(stage.own_psnr),
                        "run": stage.run,
                        "outputs": {output: _written(worst) for output, worst in stage.outputs.items()},
                    }
                    for stage in stages
                ],
            }
            for name, stages in self.components.items()
        }
        image = None
        if self.image is not None:
            image = dict(self.generated) | {"psnr": _finite(self.image), "min_psnr": self.min_psnr.get("image")}
        whole = {"schema": _SCHEMA, "precision": self.precision, "components": components, "image": image}
        return json.dumps(whole, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    def table(self) -> str:
        """The report as text, a line for each component and stage."""
        rows = [("component", "stage", "PSNR", "own PSNR", "max error", "cosine", "worst at")]
        for name, stages in self.components.items():
            for stage in stages:
                found = stage.worst.difference
                rows.append(
                    (
                        name,
                        stage.stage,
                        _decibels(found.psnr),
                        _decibels(stage.own_psnr) if stage.run else "equal",
                        f"{found.max_error:.2%}",
                        f"{found.cosine:.6f}",
                        stage.worst.case,
                    )
                )
        if self.image is not None:
            rows.append(("image", "", _decibels(self.image), "", "", "", self.generated["prompt"]))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [
            "  ".join(
                cell.rjust(width) if column in _NUMBERS else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        return "\n".join([*lines, "", *_LEGEND]) + "\n"

    def check(self) -> None:
        """Raise if anything falls short.

        Raises:
            UserError: what falls short: component, stage, what was measured and what was asked for; and the whole table.
        """
        found = [problem for name, stages in self.components.items() if (problem := self._problem(name, stages))]
        wanted = self.min_psnr.get("image")
        if self.image is not None and wanted is not None and self.image < wanted:
            found.append(
                f"image: {_decibels(self.image)} against PyTorch's image, {wanted:g} dB wanted; compress less, or "
                "lower verify.min_psnr"
            )
        if found:
            message = "\n  ".join([f"{len(found)} fall short:", *found] if found[1:] else found)
            raise ShortfallError(f"{message}\n{textwrap.indent(self.table(), '  ')}".rstrip())

    def _problem(self, name: str, stages: Sequence[Measured]) -> str | None:
        """What is wrong with a component."""
        course = ", ".join(f"{stage.stage} {_decibels(stage.psnr)}" for stage in stages)
        for stage in stages:
            if stage.own_psnr < self.keeps.get(stage.stage, -math.inf):
                reason = "the artifact is damaged, or it is a bug in sdbuild"
                if self.precision == "float16":
                    reason = "what it computes is too large or too fine for half precision"
                given = "PyTorch" if stage is stages[0] else "what it was given"
                return (
                    f"{name}: {stage.stage} gives {_decibels(stage.own_psnr)} against {given}, where "
                    f"{self.keeps[stage.stage]:g} dB are wanted of it (against PyTorch: {course}), at "
                    f"{stage.worst.case}: {reason}"
                )
        wanted = self.min_psnr.get(name)
        if wanted is None or stages[-1].psnr >= wanted:
            return None
        guilty = min(stages, key=lambda stage: stage.own_psnr)
        remedy = "compress it less, or lower" if guilty.stage == "compress" else "lower"
        return (
            f"{name}: {_decibels(stages[-1].psnr)} against PyTorch, {wanted:g} dB wanted; lost in {guilty.stage} "
            f"({course}), at {guilty.worst.case}: {remedy} verify.min_psnr"
        )


_NUMBERS = range(2, 6)
_LEGEND = (
    "PSNR: against PyTorch, the worst of all inputs and outputs; 100 dB: equal but for the order of sums.",
    "own PSNR: against what the stage before gave; equal: its very program and weights, compared and not run again.",
    "max error: as a share of the original's largest magnitude.",
)


def _decibels(value: float) -> str:
    return f"{value:.2f} dB" if math.isfinite(value) else "not finite"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _written(worst: Worst) -> dict[str, Any]:
    found = worst.difference
    return {
        "psnr": _finite(found.psnr),
        "max_error": _finite(round(found.max_error, 4)),
        "cosine": round(found.cosine, 6),
        "case": worst.case,
    }
