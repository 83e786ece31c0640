/**
 * The harness in which every op is tested by one line: values against a formula, gradients of first
 * and second order against central differences in float64, and every device against the reference,
 * on operands of drawn shapes and memory layouts.
 */
import fc from "npm:fast-check@4.10.2";
import { assert } from "@std/assert";
import type { Backend } from "../lib/backends/backend.ts";
import { openDevice, use } from "../lib/device.ts";
import { type DType, type HostArray, hostArray, isFloat } from "../lib/dtype.ts";
import { foldIn, type Key, uniform } from "../lib/random/threefry.ts";
import { rowMajorStrides, type Shape, showShape, sizeOf } from "../lib/shape.ts";
import { realize, type Tensor, tensor } from "../lib/tensor.ts";
import { grad } from "../lib/transforms/vjp.ts";
import { add, div, mul, sub } from "../ops/arithmetic.ts";
import { cast } from "../ops/cast.ts";
import { stack } from "../ops/concat.ts";
import { sum } from "../ops/reduce.ts";
import { flip, slice } from "../ops/slice.ts";
import { transpose } from "../ops/transpose.ts";
import { testOnDevices } from "./devices.ts";

/** An operand to be drawn: floats in `low..high`, whole numbers in `low..high-1`, or bools. */
export interface Operand {
  readonly shape: Shape;
  /** Default f32. */
  readonly dtype?: DType;
  /** Default -2 (0 for whole numbers). */
  readonly low?: number;
  /** Default 2. */
  readonly high?: number;
}

/** One use of an op, on operands whose elements are still to be drawn. */
export interface Use {
  readonly operands: readonly Operand[];
  apply(...x: Tensor[]): Tensor;
  /** The elements of the result in row-major order, from those of the operands. */
  expected?(...x: HostArray[]): ArrayLike<number>;
}

/** What is tested beyond the values. */
export interface OpTestOptions {
  /** Whether floating-point operands get gradients (default true). */
  readonly gradient?: boolean;
  /** Whether the gradient is differentiated again (default true). */
  readonly twice?: boolean;
  /** How far a device may be from the reference, relative to the largest element (or 1). */
  readonly tolerance?: number;
  /** Whether there are f16 operands: only devices that have the type are tested (default false). */
  readonly half?: boolean;
}

/** How an operand lies in memory; all but `whole` are views that are not row-major. */
const layouts = ["whole", "transposed", "flipped", "sliced"] as const;
type Layout = typeof layouts[number];

/** An axis length: 1 often, 0 on request. */
export const length = fc.oneof(fc.constant(1), fc.integer({ min: 2, max: 5 }));

/** A shape of some ranks, with axes of length 1 among them. */
export function shapes(minRank: number, maxRank: number): fc.Arbitrary<number[]> {
  return fc.array(length, { minLength: minRank, maxLength: maxRank });
}

/** A shape that may also have axes of length 0. */
export function emptyableShapes(minRank: number, maxRank: number): fc.Arbitrary<number[]> {
  return fc.array(fc.oneof({ weight: 5, arbitrary: length }, fc.constant(0)), {
    minLength: minRank,
    maxLength: maxRank,
  });
}

/** Shapes that broadcast together: parts of one shape, with axes shrunk to 1 or left out. */
export function broadcastable(count: number): fc.Arbitrary<number[][]> {
  const one = fc.record({
    shrunk: fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }),
    dropped: fc.integer({ min: 0, max: 3 }),
  });
  return fc.tuple(emptyableShapes(0, 3), fc.array(one, { minLength: count, maxLength: count }))
    .map(([shape, parts]) =>
      parts.map(({ shrunk, dropped }) =>
        shape.map((length, axis) => shrunk[axis] ? 1 : length).slice(dropped)
      )
    );
}

/** The elements of an operand. */
function elements({ shape, dtype = "f32", low, high = 2 }: Operand, key: Key): HostArray {
  const count = sizeOf(shape);
  const data = hostArray(dtype, count);
  const drawn = uniform(key, count);
  const from = low ?? (isFloat(dtype) ? -2 : 0);
  for (let i = 0; i < count; i++) {
    const x = from + drawn[i]! * (high - from);
    data[i] = isFloat(dtype) ? x : Math.floor(x);
  }
  return data;
}

/** Every index of a shape, in row-major order. */
export function* indices(shape: Shape): Generator<number[]> {
  const strides = rowMajorStrides(shape);
  for (let i = 0; i < sizeOf(shape); i++) {
    yield shape.map((length, axis) => Math.floor(i / strides[axis]!) % length);
  }
}

/** The position of an index in a row-major array; axes of length 1 and missing ones stay at 0. */
export function at(shape: Shape, index: readonly number[]): number {
  const strides = rowMajorStrides(shape);
  const missing = index.length - shape.length;
  return shape.reduce(
    (sum, length, axis) => sum + (length === 1 ? 0 : index[axis + missing]! * strides[axis]!),
    0,
  );
}

/** A tensor of given elements in a memory layout. */
function lay(data: HostArray, shape: Shape, layout: Layout): Tensor {
  const arranged = (inner: Shape, from: (index: number[]) => number) => {
    const copy = data.slice(0, 0).constructor as new (length: number) => HostArray;
    const result = new copy(sizeOf(inner));
    let i = 0;
    for (const index of indices(inner)) result[i++] = data[from(index)] ?? 77;
    return tensor(result, dtypeOf(data, inner));
  };
  switch (layout) {
    case "whole":
      return tensor(data, dtypeOf(data, shape));
    case "transposed":
      return transpose(arranged(shape.toReversed(), (index) => at(shape, index.toReversed())));
    case "flipped":
      return flip(tensor(data.toReversed() as HostArray, dtypeOf(data, shape)));
    case "sliced": {
      const wide = shape.map((length) => length + 2);
      const outside = (index: number[]) =>
        index.some((place, axis) => place < 1 || place > shape[axis]!);
      const padded = arranged(
        wide,
        (index) =>
          outside(index)
            ? -1
            : at(shape, index.map((place, axis) => shape[axis] === 1 ? 0 : place - 1)),
      );
      return slice(padded, shape.map(() => [1, -1] as const));
    }
  }
}

function dtypeOf(data: HostArray, shape: Shape): { shape: Shape; dtype?: DType } {
  return data instanceof Uint8Array ? { shape, dtype: "bool" } : { shape };
}

/** A use with its elements and layouts drawn. */
interface Drawn {
  readonly use: Use;
  readonly data: readonly HostArray[];
  make(): Tensor[];
  readonly key: Key;
}

function draw(use: Use, seed: number, chosen: readonly number[]): Drawn {
  const key: Key = [0, seed];
  const data = use.operands.map((operand, i) => elements(operand, foldIn(key, i)));
  const make = () =>
    data.map((values, i) => lay(values, use.operands[i]!.shape, layouts[chosen[i % 8]!]!));
  return { use, data, make, key };
}

/** Random constants of a shape in -1..1. */
function constants(shape: Shape, key: Key): Tensor {
  return tensor(uniform(key, sizeOf(shape)).map((x) => 2 * x - 1), { shape });
}

/** The inner product, in f32. */
function inner(a: Tensor, b: Tensor): Tensor {
  return sum(mul(cast(a, "f32"), b));
}

/** A scalar function of the floating-point operands: the result weighted by random constants. */
function scalarFunction({ use, make, key }: Drawn): { f: Scalar; x: Tensor[] } {
  const operands = make();
  const f = (x: readonly Tensor[]) => {
    let next = 0;
    const y = use.apply(
      ...operands.map((operand) => isFloat(operand.dtype) ? x[next++]! : operand),
    );
    return inner(y, constants(y.shape, foldIn(key, 100)));
  };
  return { f, x: operands.filter((operand) => isFloat(operand.dtype)) };
}

type Scalar = (x: readonly Tensor[]) => Tensor;

/** The derivative of a function along random directions, as a function. */
function slope(f: Scalar, directions: readonly Tensor[]): Scalar {
  return (x) => {
    const gradients = grad((p: readonly Tensor[]) => f(p))(x);
    return gradients.map((g, i) => inner(g, directions[i]!)).reduce(add);
  };
}

const step = 2 ** -17;

/** Pairs of a derivative and a central difference, one for each operand. */
function derivatives(f: Scalar, x: readonly Tensor[], directions: readonly Tensor[]): Tensor[] {
  const gradients = grad((p: readonly Tensor[]) => f(p))(x);
  return x.map((operand, i) => {
    const move = cast(mul(directions[i]!, step), operand.dtype);
    const above = f(x.with(i, add(operand, move))), below = f(x.with(i, sub(operand, move)));
    return stack([inner(gradients[i]!, directions[i]!), div(sub(above, below), 2 * step)]);
  });
}

async function checkDerivatives(order: string, pairs: readonly Tensor[]): Promise<void> {
  await realize(...pairs);
  for (const [i, pair] of pairs.entries()) {
    const [analytic, numeric] = await pair.data() as unknown as [number, number];
    const allowed = 2e-6 * Math.max(1, Math.abs(numeric));
    assert(
      Math.abs(analytic - numeric) <= allowed,
      `${order} of floating-point operand ${i}: expected ${numeric} but found ${analytic}`,
    );
  }
}

/** Checks that two lists of elements agree; NaN and infinities must be in the same places. */
function assertClose(
  what: string,
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number,
): void {
  assert(actual.length === expected.length, `${what}: expected ${expected.length} elements`);
  let largest = 1;
  for (const x of Array.from(expected)) {
    if (Number.isFinite(x)) largest = Math.max(largest, Math.abs(x));
  }
  for (let i = 0; i < expected.length; i++) {
    const a = actual[i]!, b = expected[i]!;
    const agrees = Object.is(a, b) || a === b || Math.abs(a - b) <= tolerance * largest;
    assert(agrees, `${what}: expected ${b} at ${i} but found ${a}`);
  }
}

function hasGradient({ use }: Drawn, y: Tensor, { gradient = true }: OpTestOptions): boolean {
  return gradient && isFloat(y.dtype) &&
    use.operands.some(({ dtype = "f32" }) => isFloat(dtype));
}

async function checkOnReference(drawn: Drawn, options: OpTestOptions): Promise<void> {
  const { use: { expected, apply }, data, make, key } = drawn;
  const y = apply(...make());
  const values = await y.data();
  if (expected) assertClose("value", values, expected(...data), 1e-6);
  if (!hasGradient(drawn, y, options)) return;
  const { f, x } = scalarFunction(drawn);
  const along = (at: number) =>
    x.map((operand, i) => constants(operand.shape, foldIn(key, at + i)));
  await checkDerivatives("derivative", derivatives(f, x, along(200)));
  if (options.twice === false) return;
  const second = derivatives(slope(f, along(300)), x, along(400));
  await checkDerivatives("second derivative", second);
}

/** The result and its gradients as read from the current device. */
async function results(drawn: Drawn, options: OpTestOptions): Promise<HostArray[]> {
  const y = drawn.use.apply(...drawn.make());
  const tensors = [y];
  if (hasGradient(drawn, y, options)) {
    const { f, x } = scalarFunction(drawn);
    tensors.push(...grad((p: readonly Tensor[]) => f(p))(x));
  }
  await realize(...tensors);
  return Promise.all(tensors.map((x) => x.data()));
}

async function compareWithReference(
  device: Backend,
  drawn: Drawn,
  options: OpTestOptions,
): Promise<void> {
  await openDevice("reference");
  const expected = await results(drawn, options);
  use(device);
  const actual = await results(drawn, options);
  for (const [i, values] of actual.entries()) {
    const what = i === 0 ? "value" : `gradient of floating-point operand ${i - 1}`;
    assertClose(what, values, expected[i]!, options.tolerance ?? 1e-5);
  }
}

const seed = 20260;

/**
 * Declares the tests of one op, one for each device.
 *
 * @param name The op.
 * @param uses Draws shapes and settings.
 * @param options What is tested beyond the values.
 */
export function testOp(name: string, uses: fc.Arbitrary<Use>, options: OpTestOptions = {}): void {
  testOnDevices(name, async (device) => {
    if (options.half && !device.features.f16) return;
    const drawn = fc.record({
      use: uses,
      seed: fc.integer({ min: 0, max: 1e6 }),
      layouts: fc.array(fc.nat(layouts.length - 1), { minLength: 8, maxLength: 8 }),
    }).map((parts) => ({
      ...draw(parts.use, parts.seed, parts.layouts),
      toString: () =>
        parts.use.operands.map(({ shape, dtype }, i) =>
          `${dtype ?? "f32"}${showShape(shape)} ${layouts[parts.layouts[i % 8]!]}`
        ).join(", "),
    }));
    const property = fc.asyncProperty(
      drawn,
      (one) =>
        device.name === "reference"
          ? checkOnReference(one, options)
          : compareWithReference(device, one, options),
    );
    const numRuns = device.name === "reference" ? 15 : 4;
    await fc.assert(property, { seed, numRuns, endOnFailure: true });
  });
}

/** Declares the tests of an op that works element by element with broadcasting. */
export function testPointwise(
  name: string,
  apply: (...x: Tensor[]) => Tensor,
  formula: (...x: number[]) => number,
  operands: readonly Omit<Operand, "shape">[] = [{}],
  options: OpTestOptions = {},
): void {
  const uses = broadcastable(operands.length).map((drawn): Use => {
    const rank = Math.max(...drawn.map((shape) => shape.length));
    const result = Array.from({ length: rank }, (_, axis) => {
      const lengths = drawn.map((shape) => shape[axis - rank + shape.length] ?? 1);
      return lengths.find((length) => length !== 1) ?? 1;
    });
    return {
      operands: operands.map((operand, i) => ({ ...operand, shape: drawn[i]! })),
      apply,
      expected: (...x) =>
        Array.from(
          indices(result),
          (index) => formula(...x.map((values, i) => values[at(drawn[i]!, index)]!)),
        ),
    };
  });
  testOp(name, uses, options);
}
