/** What ops say about arguments that do not fit: the op, the argument, what is wanted and found. */
import { assertThrows } from "@std/assert";
import * as ops from "../../ops/mod.ts";
import { tensor } from "../../lib/tensor.ts";

const x = ops.zeros([2, 3]);
const whole = ops.zeros([2, 3], { dtype: "i32" });

const refused: readonly [() => unknown, typeof TypeError | typeof RangeError, string][] = [
  [
    () => ops.add(x, ops.zeros([4])),
    TypeError,
    "add: expected shapes that broadcast together but found [2, 3] and [4]",
  ],
  [
    () => ops.add([1] as never, x),
    TypeError,
    "add: expected argument 1 to be a tensor, a number or a boolean but found an array",
  ],
  [() => ops.exp(whole), TypeError, "exp: expected x to be f32 or f16 but found i32"],
  [() => ops.div(whole, 2), TypeError, "div: expected x to be f32 or f16 but found i32"],
  [() => ops.logicalNot(x), TypeError, "logicalNot: expected x to be bool but found f32"],
  [() => ops.where(x, 1, 0), TypeError, "where: expected condition to be bool but found f32"],
  [
    () => ops.reshape(x, [4, -1]),
    TypeError,
    "reshape: expected shape to hold the 6 elements of x [2, 3] but found [4, -1]",
  ],
  [
    () => ops.transpose(x, [0]),
    RangeError,
    "transpose: expected axes to name all 2 axes of x but found [0]",
  ],
  [
    () => ops.transpose(x, [0, 0]),
    RangeError,
    "transpose: expected distinct axes but found axis 0 twice",
  ],
  [
    () => ops.broadcastTo(x, [3, 2]),
    TypeError,
    "broadcastTo: expected x to broadcast to [3, 2] but found shape [2, 3]",
  ],
  [
    () => ops.slice(x, [5]),
    RangeError,
    "slice: expected the place on axis 0 to be in -2..1 but found 5",
  ],
  [
    () => ops.split(x, 2),
    RangeError,
    "split: expected parts to fill the length 3 of axis 1 but found 2",
  ],
  [() => ops.concat([]), TypeError, "concat: expected at least one tensor but found none"],
  [
    () => ops.concat([x, ops.zeros([2, 4])]),
    TypeError,
    "concat: expected tensors that differ along axis 0 only but found shapes [2, 3] and [2, 4]",
  ],
  [
    () => ops.pad(x, [[1, 1]]),
    RangeError,
    "pad: expected one pair of widths for each axis of x [2, 3] but found 1",
  ],
  [() => ops.sum(x, { axes: 2 }), RangeError, "sum: expected axis to be in -2..1 but found 2"],
  [
    () => ops.max(ops.zeros([0])),
    TypeError,
    "max: expected at least one element to reduce but found shape [0]",
  ],
  [
    () => ops.matmul(x, x),
    TypeError,
    "matmul: expected b to have 3 rows, as a [2, 3] has columns, but found shape [2, 3]",
  ],
  [
    () => ops.matmul(whole, ops.transpose(whole)),
    TypeError,
    "matmul: expected a to be f32 or f16 but found i32",
  ],
  [() => ops.take(x, x), TypeError, "take: expected indices to be i32 or u32 but found f32"],
  [
    () => ops.embedding(ops.zeros([3]), tensor(new Int32Array(2))),
    TypeError,
    "embedding: expected table to have 2 axes but found shape [3]",
  ],
  [
    () => ops.rearrange(x, "a b -> (b c a)"),
    TypeError,
    'rearrange: expected the same axes on both sides but found "c" on one of "a b -> (b c a)"',
  ],
  [
    () => ops.rearrange(x, "a (b c) -> a b c", { b: 2 }),
    TypeError,
    'rearrange: expected axis 1 of x to be "b c" with sizes {"b":2} but found length 3',
  ],
  [
    () => ops.rearrange(x, "a b c -> a"),
    TypeError,
    'rearrange: expected x to have the axes of "a b c" but found shape [2, 3]',
  ],
  [
    () => ops.rearrange(x, "a (b -> a b"),
    TypeError,
    'rearrange: expected ")" after "(" but found none in "a (b -> a b"',
  ],
  [
    () => ops.einsum("i j, j k -> i k", x, x),
    TypeError,
    'einsum: expected axis "j" of tensor 1 to have length 3 but found 2',
  ],
  [
    () => ops.einsum("i j -> k", x),
    TypeError,
    `einsum: expected the result's axes on the left side but found "k" only on the right of "i j -> k"`,
  ],
  [
    () => ops.einsum("i i -> i", x),
    TypeError,
    'einsum: expected each axis once on a side but found "i" twice in "i i -> i"',
  ],
  [
    () => ops.attention(x, x, x),
    TypeError,
    "attention: expected q to have 4 axes but found shape [2, 3]",
  ],
  [
    () => ops.conv2d(ops.zeros([1, 2, 2, 2]), ops.zeros([1, 2, 3, 3])),
    TypeError,
    "conv2d: expected the padded image to hold the kernel [3, 3] but found size [2, 2] with padding [0, 0, 0, 0]",
  ],
  [
    () => ops.crossEntropy(x, ops.zeros([3], { dtype: "i32" })),
    TypeError,
    "crossEntropy: expected targets to have shape [2] but found [3]",
  ],
  [
    () => ops.groupNorm(x, 2),
    RangeError,
    "groupNorm: expected groups to divide the 3 channels but found 2",
  ],
  [
    () => ops.dropout(x, 1, ops.randomKey(0)),
    RangeError,
    "dropout: expected rate to be at least 0 and below 1 but found 1",
  ],
  [
    () => ops.full([1.5], 0),
    RangeError,
    "full: expected shape to hold whole numbers of at least 0 but found [1.5]",
  ],
  [
    () => ops.arange(0, 1, 0),
    RangeError,
    "arange: expected finite numbers and a step that is not 0 but found 0, 1, 0",
  ],
];

for (const [use, kind, message] of refused) {
  Deno.test(`refused: ${message}`, () => {
    assertThrows(use, kind, message);
  });
}
