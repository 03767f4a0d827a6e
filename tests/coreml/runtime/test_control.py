"""Loops, branches and lists, and what nested blocks see of the blocks around them."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sdbuild.coreml.runtime import ModelError, UnsupportedError, load
from sdbuild.coreml.runtime.fuse import fuse
from sdbuild.coreml.runtime.program import Block, Function, Operation
from tests.coreml.runtime.support import Array, assert_close, floats, mb, run, write
from tests.coreml.runtime.test_model import attention, block, changed

X = floats([4, 3], 1)
WEIGHT = floats([3, 3], 2)
ZERO, ONE = np.int32(0), np.int32(1)


def scalar(value: int) -> Array:
    return np.array(value, np.int32)


def powers(x: Any, n: Any) -> Any:
    """x·Wⁿ, with a weight, a value of the function and one of the loop read within it; and the count."""
    offset = mb.reduce_mean(x=x, axes=[0], keep_dims=True)

    def body(i: Any, y: Any) -> Any:
        return mb.add(x=i, y=ONE), mb.add(x=mb.linear(x=y, weight=WEIGHT), y=offset)

    return mb.while_loop(_cond=lambda i, y: mb.less(x=i, y=n), _body=body, loop_vars=(mb.sub(x=n, y=n), x))


def powers_expected(n: int) -> Array:
    y = X
    for _ in range(n):
        y = y @ WEIGHT.T + X.mean(0, keepdims=True)
    return y


@pytest.mark.parametrize("n", [0, 1, 5])
@pytest.mark.parametrize("options", [{}, {"decoded_bytes": 0}, {"precision": "float16"}], ids=str)
def test_a_loop_runs_as_often_as_its_condition_holds(n: int, options: dict[str, Any]) -> None:
    count, result = run(powers, {"x": X, "n": scalar(n)}, **options)
    assert count == n
    assert_close([result], [powers_expected(n)])


def test_values_of_a_loop_are_rounded_after_each_operation() -> None:
    def body(x: Any) -> Any:
        half = mb.cast(x=x, dtype="fp16")
        _, y = mb.while_loop(
            _cond=lambda i, y: mb.less(x=i, y=np.int32(3)),
            _body=lambda i, y: (mb.add(x=i, y=ONE), mb.mul(x=y, y=y)),
            loop_vars=(ZERO, half),
        )
        return y

    x = np.array([1.001, 2.0, 5.0], np.float32)
    expected = x.astype(np.float16)
    with np.errstate(over="ignore"):
        for _ in range(3):
            expected = expected * expected
    np.testing.assert_array_equal(run(body, {"x": x}, precision="float16")[0], expected)
    assert run(body, {"x": x})[0][2] == 5.0**8


def branches(x: Any, p: Any) -> Any:
    double = mb.mul(x=x, y=np.float32(2))
    return mb.cond(
        pred=p,
        _true_fn=lambda: (mb.add(x=double, y=x), mb.identity(x=x)),
        _false_fn=lambda: (mb.linear(x=x, weight=WEIGHT), mb.identity(x=double)),
    )


@pytest.mark.parametrize("holds", [True, False])
def test_one_branch_is_run(holds: bool) -> None:
    results = run(branches, {"x": X, "p": np.array(holds)})
    assert_close(results, [3 * X, X] if holds else [X @ WEIGHT.T, 2 * X])


def test_blocks_within_blocks_see_everything_around_them() -> None:
    """The sum of i·x over even i, less that over odd i, for i < n; x is read two blocks deeper than it is made."""

    def body(x: Any, n: Any) -> Any:
        y = mb.exp(x=x)

        def step(i: Any, total: Any) -> Any:
            term = mb.mul(x=y, y=mb.cast(x=i, dtype="fp32"))
            even = mb.equal(x=mb.mod(x=i, y=np.int32(2)), y=ZERO)
            signed = mb.cond(
                pred=even,
                _true_fn=lambda: mb.add(x=total, y=term),
                _false_fn=lambda: mb.add(x=mb.sub(x=total, y=term), y=mb.sub(x=y, y=y)),
            )
            return mb.add(x=i, y=ONE), signed

        start = mb.sub(x=x, y=x)
        return mb.while_loop(_cond=lambda i, total: mb.less(x=i, y=n), _body=step, loop_vars=(ZERO, start))[1]

    expected = sum((-1) ** i * i * np.exp(X) for i in range(6))
    assert_close(run(body, {"x": X, "n": scalar(6)}), [expected])


def test_values_that_only_a_nested_block_reads_are_kept_until_then() -> None:
    def body(x: Any, p: Any) -> Any:
        deep = mb.exp(x=x)
        later = mb.relu(x=x)
        chosen = mb.cond(
            pred=p,
            _true_fn=lambda: mb.cond(pred=p, _true_fn=lambda: mb.identity(x=deep), _false_fn=lambda: mb.identity(x=x)),
            _false_fn=lambda: mb.identity(x=later),
        )
        return mb.add(x=chosen, y=later)

    assert_close(run(body, {"x": X, "p": np.array(True)}), [np.exp(X) + np.maximum(X, 0)])


def test_layers_of_nested_blocks_are_fused() -> None:
    def body(q: Any, k: Any, v: Any, p: Any) -> Any:
        return mb.cond(
            pred=p,
            _true_fn=lambda: attention(q, k, v, False, True, False),
            _false_fn=lambda: mb.identity(x=q),
        )

    inputs = {"q": floats([2, 3, 5, 8], 1), "k": floats([2, 3, 6, 8], 2), "v": floats([2, 3, 6, 8], 3)}
    path = write(body, {**inputs, "p": np.array(True)})
    model = load(path)
    assert "fused_attention" in {each.type for each in model._function.operations()}
    written = load(path, precision="float16").predict({**inputs, "p": np.array(True)})
    assert_close(list(model.predict({**inputs, "p": np.array(True)}).values()), list(written.values()), 1e-5)


def test_a_name_of_a_block_hides_one_around_it_from_the_fusing() -> None:
    inner = Operation("relu", 1, {"x": ["y"]}, {}, [])
    outer = Operation("cond", 0, {}, {}, [], [Block([], [inner], [])])
    fuse(Function("main", "ios16", [], Block([], [outer], [])))
    assert outer.blocks[0].operations == [inner]


# Lists


def rows(x: Any, n: Any) -> Any:
    """The rows of x doubled, the last first, by a loop that reads one list and writes another."""
    given = mb.list_scatter(
        ls=mb.make_list(init_length=1, elem_shape=(3,)), indices=np.arange(4, dtype=np.int32), value=x
    )
    made = mb.make_list(init_length=1, elem_shape=(3,))

    def step(i: Any, ls: Any) -> Any:
        row = mb.list_read(ls=given, index=mb.sub(x=mb.sub(x=n, y=ONE), y=i))
        return mb.add(x=i, y=ONE), mb.list_write(ls=ls, index=i, value=mb.mul(x=row, y=np.float32(2)))

    _, out = mb.while_loop(_cond=lambda i, ls: mb.less(x=i, y=n), _body=step, loop_vars=(ZERO, made))
    picked = mb.list_gather(ls=out, indices=np.array([0, 1, 3], np.int32))
    return picked, mb.list_length(ls=out), mb.list_length(ls=given)


def test_lists_are_read_written_gathered_and_scattered() -> None:
    assert_close(run(rows, {"x": X, "n": scalar(4)}), [2 * X[[3, 2, 0]], scalar(4), scalar(4)])


def of_length_n(spec: Any) -> None:
    """A length that is computed at run time, which coremltools' builder cannot write."""
    argument = (
        next(each for each in block(spec).operations if each.type == "make_list").inputs["init_length"].arguments[0]
    )
    argument.Clear()
    argument.name = "n"


def test_the_length_of_a_list_may_be_computed() -> None:
    path = write(lambda n: mb.list_length(ls=mb.make_list(init_length=1, elem_shape=(3,))), {"n": scalar(0)})
    model = load(changed(path, of_length_n))
    for length in (0, 5):
        assert next(iter(model.predict({"n": scalar(length)}).values())) == length
    with pytest.raises(ModelError, match=r"operation \d+ \(make_list -> make_list_\d+\): a list of -1 elements"):
        model.predict({"n": scalar(-1)})


def test_writing_to_a_list_makes_another() -> None:
    def body(x: Any) -> Any:
        one = mb.list_write(ls=mb.make_list(init_length=1, elem_shape=(4, 3)), index=ZERO, value=x)
        two = mb.list_write(ls=one, index=ZERO, value=mb.exp(x=x))
        return mb.list_read(ls=one, index=ZERO), mb.list_read(ls=two, index=ZERO)

    assert_close(run(body, {"x": X}), [X, np.exp(X)])


def listed(length: int, grows: bool, read: int, write_at: int) -> Callable[..., Any]:
    def body(x: Any) -> Any:
        ls = mb.make_list(init_length=length, dynamic_length=grows, elem_shape=(4, 3))
        return mb.list_read(ls=mb.list_write(ls=ls, index=np.int32(write_at), value=x), index=np.int32(read))

    return body


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (listed(2, True, 1, 0), "element 1 of the list is read before it is written"),
        (listed(2, True, 7, 0), "element 7 of a list of 2"),
        (listed(2, False, 0, 2), "element 2 of a list of 2"),
        (listed(2, True, 0, -1), "element -1 of a list of 2"),
        (listed(2, True, 0, 1 << 30), "element 1073741824 of a list of 2"),
    ],
)
def test_elements_that_a_list_does_not_have(body: Callable[..., Any], message: str) -> None:
    with pytest.raises(ModelError, match=rf"operation \d+ \(list_(read|write) -> \w+\): {message}"):
        run(body, {"x": X})


# Damage


def loop_of(spec: Any) -> Any:
    return next(each for each in block(spec).operations if each.type == "while_loop")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda loop: loop.blocks.pop(), "it takes 2 values and makes 2, which does not fit its blocks (2 to 1)"),
        (lambda loop: loop.blocks[1].outputs.pop(), "does not fit its blocks (2 to 1, 2 to 1)"),
        (lambda loop: loop.inputs["loop_vars"].arguments.pop(), "it takes 1 values and makes 2"),
        (lambda loop: setattr(loop.blocks[0].operations[-1], "type", "list_length"), "the parameter ls is missing"),
        (lambda loop: setattr(loop, "type", "conv"), "(conv -> "),
        (lambda loop: setattr(loop.blocks[1].operations[-1], "type", "frobnicate"), "this operation is not supported"),
        (lambda loop: loop.blocks[1].outputs.__setitem__(0, "nobody"), "its output nobody is computed by nothing"),
        (lambda loop: loop.blocks[0].outputs.__setitem__(0, "x"), "its condition is not a single truth value"),
    ],
)
def test_loops_that_contradict_themselves(change: Callable[[Any], Any], message: str) -> None:
    path = changed(write(powers, {"x": X, "n": scalar(2)}), lambda spec: change(loop_of(spec)))
    with pytest.raises(ModelError, match=re.escape(message)):
        load(path).predict({"x": X, "n": scalar(2)})


def test_lists_where_tensors_belong() -> None:
    def take(spec: Any, kind: str, parameter: str, name: str) -> None:
        operation = next(each for each in block(spec).operations if each.type == kind)
        operation.inputs[parameter].arguments[0].name = name

    path = write(listed(2, True, 0, 0), {"x": X})
    with pytest.raises(ModelError, match=r"value is a list<fp32 \[4, 3\]>, not a tensor"):
        load(changed(path, lambda spec: take(spec, "list_write", "value", block(spec).operations[-5].outputs[0].name)))
    with pytest.raises(ModelError, match=r"ls is a fp32 \[4, 3\], not a list"):
        load(changed(path, lambda spec: take(spec, "list_read", "ls", "x")))


def test_lists_that_come_in_or_go_out() -> None:
    def given(spec: Any) -> None:
        kind = spec.mlProgram.functions["main"].inputs[0].type
        element = type(kind)()
        element.CopyFrom(kind)
        kind.listType.type.CopyFrom(element)

    def made(spec: Any) -> None:
        name = next(each for each in block(spec).operations if each.type == "list_write").outputs[0].name
        block(spec).outputs[0] = spec.description.output[0].name = name

    path = write(listed(2, True, 0, 0), {"x": X})
    with pytest.raises(UnsupportedError, match="its input x is a list; only tensors are supported"):
        load(changed(path, given))
    with pytest.raises(UnsupportedError, match=r"its output list_write_\d+ is a list; only tensors"):
        load(changed(path, made))
