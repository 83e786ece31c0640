/** Tensors: immutable handles on values of the lazy graph, and how ops are applied to them. */
import { type DType, type HostArray, hostArray } from "./dtype.ts";
import { makeNode, makeSource, type Node, type Value } from "./graph.ts";
import type { Attributes, Op } from "./op.ts";
import { checkShape, type Shape, showShape, sizeOf } from "./shape.ts";
import { inTrace } from "./transforms/trace.ts";
import { readValue, realizeValues } from "./realize.ts";

/** Nested arrays of numbers, as `Tensor.toArray` returns them. */
export type NestedArray = number | boolean | NestedArray[];

/** What ops take as an operand: a tensor, or a number that takes the type of the tensor beside it. */
export type TensorLike = Tensor | number | boolean;

/**
 * An n-dimensional array of one type. Tensors never change; applying an op gives a new one and
 * computes nothing until a value is read or a jitted program runs.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "./tensor.ts";
 * const x = tensor([[1, 2], [3, 4]]);
 * assertEquals(x.shape, [2, 2]);
 * ```
 */
export class Tensor {
  /** @ignore The graph value behind it. */
  readonly value: Value;

  /** @ignore Made by ops, not by users. */
  constructor(value: Value) {
    this.value = value;
    if (!inTrace() && !value.handle?.deref()) value.handle = new WeakRef(this);
  }

  /** The lengths of the axes. */
  get shape(): Shape {
    return this.value.shape;
  }

  /** The type of the elements. */
  get dtype(): DType {
    return this.value.dtype;
  }

  /** The number of axes. */
  get rank(): number {
    return this.value.shape.length;
  }

  /** The number of elements. */
  get size(): number {
    return sizeOf(this.value.shape);
  }

  /** Computes the tensor and reads its elements, in row-major order (bool as 0 and 1). */
  data(): Promise<HostArray> {
    return readValue(this.value);
  }

  /**
   * The one element of a tensor of size 1.
   *
   * @throws {TypeError} If it has another number of elements.
   */
  async item(): Promise<number> {
    if (this.size !== 1) {
      throw new TypeError(
        `item: expected a tensor of one element but found shape ${showShape(this.shape)}`,
      );
    }
    return (await this.data())[0]!;
  }

  /** The elements as nested arrays. */
  async toArray(): Promise<NestedArray> {
    const data = await this.data();
    const nest = (axis: number, offset: number, size: number): NestedArray => {
      if (axis === this.rank) {
        return this.dtype === "bool" ? Boolean(data[offset]) : data[offset]!;
      }
      const step = size / Math.max(1, this.shape[axis]!);
      return Array.from(
        { length: this.shape[axis]! },
        (_, i) => nest(axis + 1, offset + i * step, step),
      );
    };
    return nest(0, 0, this.size);
  }

  /** Gives the device memory back now instead of when the tensor is collected. */
  dispose(): void {
    this.value.storage?.release();
  }

  /** `f32[2, 3]`. */
  toString(): string {
    return `${this.dtype}${showShape(this.shape)}`;
  }

  /** What `console.log` shows. */
  [Symbol.for("Deno.customInspect")](): string {
    return `Tensor ${this}`;
  }
}

/** Applies an op; one tensor per output. */
export function bind(op: Op, inputs: readonly Tensor[], attributes: Attributes = {}): Tensor[] {
  const node: Node = makeNode(op, inputs.map((input) => input.value), attributes);
  return node.outputs.map((value) => new Tensor(value));
}

/** Applies an op with one output. */
export function bindOne(op: Op, inputs: readonly Tensor[], attributes: Attributes = {}): Tensor {
  return bind(op, inputs, attributes)[0]!;
}

/**
 * A tensor of given elements.
 *
 * @param data A number, nested arrays of numbers or booleans, or a typed array (used as it is, not
 * copied: do not change it afterwards).
 * @param options `shape` for a typed array (default: one axis), and `dtype` (default: that of the
 * typed array; bool for booleans, else f32).
 * @returns The tensor.
 * @throws {TypeError} If the elements do not fill the shape, or nested arrays differ in length.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "./tensor.ts";
 * const x = tensor(new Int32Array([1, 2, 3, 4]), { shape: [2, 2] });
 * assertEquals([x.dtype, x.shape], ["i32", [2, 2]]);
 * ```
 */
export function tensor(
  data: HostArray | readonly NestedArray[] | NestedArray,
  options: { shape?: Shape; dtype?: DType } = {},
): Tensor {
  let elements: HostArray;
  let shape: Shape;
  if (ArrayBuffer.isView(data)) {
    const natural: DType = data instanceof Float32Array
      ? "f32"
      : data instanceof Float16Array
      ? "f16"
      : data instanceof Int32Array
      ? "i32"
      : data instanceof Uint32Array
      ? "u32"
      : "bool";
    const dtype = options.dtype ?? natural;
    elements = data as HostArray;
    if (dtype !== natural) {
      elements = hostArray(dtype, elements.length);
      elements.set(data as HostArray);
      if (dtype === "bool") { for (let i = 0; i < elements.length; i++) elements[i] = +!!data[i]!; }
    }
    shape = options.shape ?? [elements.length];
    return literal(elements, shape, dtype);
  }
  const flat: (number | boolean)[] = [];
  shape = nestedShape(data as NestedArray, flat);
  const dtype = options.dtype ?? (typeof flat[0] === "boolean" ? "bool" : "f32");
  elements = hostArray(dtype, flat.length);
  for (let i = 0; i < flat.length; i++) {
    elements[i] = dtype === "bool" ? Number(Boolean(flat[i])) : Number(flat[i]);
  }
  return literal(elements, options.shape ?? shape, dtype);
}

function literal(elements: HostArray, shape: Shape, dtype: DType): Tensor {
  checkShape("tensor", shape);
  if (elements.length !== sizeOf(shape)) {
    throw new TypeError(
      `tensor: expected ${sizeOf(shape)} elements for shape ${
        showShape(shape)
      } but found ${elements.length}`,
    );
  }
  const value = makeSource({ shape: [...shape], dtype });
  value.host = elements;
  return new Tensor(value);
}

function nestedShape(data: NestedArray, flat: (number | boolean)[]): number[] {
  if (!Array.isArray(data)) {
    flat.push(data);
    return [];
  }
  const shapes = data.map((child) => nestedShape(child, flat));
  for (const shape of shapes) {
    if (String(shape) !== String(shapes[0])) {
      throw new TypeError(
        `tensor: expected nested arrays of equal lengths but found ${showShape(shapes[0]!)} and ${
          showShape(shape)
        }`,
      );
    }
  }
  return [data.length, ...(shapes[0] ?? [])];
}

/** Computes several tensors together, in one program; they can then be read without waiting. */
export async function realize(...tensors: Tensor[]): Promise<void> {
  await realizeValues(tensors.map((x) => x.value));
}
