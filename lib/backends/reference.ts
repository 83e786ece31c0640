/**
 * The reference device: plain TypeScript in float64, one op at a time. It is slow and exists to be
 * right; the other devices are tested against it.
 */
import { type DType, hostArray, isFloat } from "../dtype.ts";
import type { KernelArray, TensorType } from "../op.ts";
import { sizeOf } from "../shape.ts";
import type { Expr } from "../compiler/expr.ts";
import type { LoopKernel, LoopStep, Plan } from "../compiler/plan.ts";
import { type ScalarOp, scalarOps } from "../compiler/scalar_ops.ts";
import type { Backend, DeviceBuffer, DeviceCounters } from "./backend.ts";

/** A buffer of the reference device; the array is made when its type is known. */
interface ReferenceBuffer extends DeviceBuffer {
  data?: KernelArray;
}

function arrayOf(buffer: ReferenceBuffer, { shape, dtype }: TensorType): KernelArray {
  const length = sizeOf(shape);
  if (!buffer.data || buffer.data.length !== length) {
    buffer.data = isFloat(dtype)
      ? new Float64Array(length)
      : dtype === "i32"
      ? new Int32Array(length)
      : new Uint32Array(length);
  }
  return buffer.data;
}

/**
 * Opens the reference device.
 *
 * @returns The device.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openReference } from "./reference.ts";
 * assertEquals(openReference().name, "reference");
 * ```
 */
export function openReference(): Backend {
  const counters: DeviceCounters = {
    allocations: 0,
    bytesLive: 0,
    bytesPeak: 0,
    dispatches: 0,
    submissions: 0,
    readbacks: 0,
    compilations: 0,
  };
  return {
    name: "reference",
    description: "plain TypeScript in float64",
    features: { f16: true },
    counters,
    limits: { buffersPerKernel: Infinity, bytesPerBuffer: Infinity },
    fuses: false,
    acceptsViews: () => false,
    allocate(bytes) {
      counters.allocations++;
      counters.bytesLive += bytes;
      counters.bytesPeak = Math.max(counters.bytesPeak, counters.bytesLive);
      return { bytes };
    },
    release(buffer) {
      counters.bytesLive -= buffer.bytes;
      (buffer as ReferenceBuffer).data = undefined;
    },
    write(buffer, type, data) {
      arrayOf(buffer as ReferenceBuffer, type).set(data);
    },
    read(buffer, type) {
      counters.readbacks++;
      const result = hostArray(type.dtype, sizeOf(type.shape));
      result.set(arrayOf(buffer as ReferenceBuffer, type));
      return Promise.resolve(result);
    },
    prepare(plan) {
      counters.compilations++;
      return { run: prepare(plan, counters), dispose() {} };
    },
    synchronize: () => Promise.resolve(),
    close() {},
  };
}

function prepare(plan: Plan, counters: DeviceCounters) {
  const loops = new Map<LoopStep, (buffers: readonly KernelArray[]) => void>();
  for (const step of plan.steps) {
    if (step.kind === "loop") loops.set(step, compileLoop(step.kernel, step.reads.length));
  }
  return (given: readonly DeviceBuffer[]) => {
    const arrays = plan.buffers.map(({ id, type, bytes }) => {
      const at = plan.bound.indexOf(id);
      return arrayOf(at >= 0 ? given[at] as ReferenceBuffer : { bytes }, type);
    });
    counters.submissions++;
    for (const step of plan.steps) {
      counters.dispatches++;
      if (step.kind === "copy") {
        arrays[step.writes[0]]!.set(arrays[step.reads[0]]!);
      } else if (step.kind === "loop") {
        loops.get(step)!([...step.reads, ...step.writes].map((id) => arrays[id]!));
      } else {
        const operands = (ids: readonly number[], types: readonly TensorType[]) =>
          ids.map((id, i) => ({ ...types[i]!, data: arrays[id]! }));
        step.op.run.cpu(
          operands(step.reads, step.spec.inputs),
          operands(step.writes, step.spec.outputs),
          step.attributes,
        );
      }
    }
  };
}

/** What an expression is evaluated in: loop variables, arrays, results of reductions. */
interface Frame {
  readonly variables: number[];
  readonly arrays: readonly KernelArray[];
  readonly reduced: number[];
}

const starts = { sum: 0, product: 1, maximum: -Infinity, minimum: Infinity };

function compileLoop(kernel: LoopKernel, reads: number) {
  const { rows, columns, passes, rowStores } = kernel;
  const code = new Map<Expr, (frame: Frame) => number>();
  const evaluator = (x: Expr) => {
    let found = code.get(x);
    if (!found) code.set(x, found = compileExpr(x, evaluator));
    return found;
  };
  const compiledStores = (stores: LoopKernel["rowStores"]) =>
    stores.map(({ slot, index, value }) => ({
      slot: reads + slot,
      index: evaluator(index),
      value: evaluator(value),
    }));
  const compiledPasses = passes.map(({ reductions, stores }) => ({
    reductions: reductions.map(({ id, reduce, dtype, value }) => ({
      id,
      dtype,
      start: bounded(dtype, starts[reduce]),
      combine: scalarOps[({ sum: "add", product: "mul" } as const)[reduce as "sum"] ?? reduce],
      value: evaluator(value),
    })),
    stores: compiledStores(stores),
  }));
  const finalStores = compiledStores(rowStores);
  return (arrays: readonly KernelArray[]) => {
    const frame: Frame = { variables: [], arrays, reduced: [] };
    const save = (stores: ReturnType<typeof compiledStores>) => {
      for (const { slot, index, value } of stores) arrays[slot]![index(frame)] = value(frame);
    };
    forEachPoint(rows, frame.variables, 0, () => {
      for (const { reductions, stores } of compiledPasses) {
        for (const { id, start } of reductions) frame.reduced[id] = start;
        forEachPoint(columns, frame.variables, rows.length, () => {
          for (const { id, dtype, combine, value } of reductions) {
            frame.reduced[id] = wrap(
              dtype,
              combine.evaluate([frame.reduced[id]!, value(frame)], dtype),
            );
          }
          save(stores);
        });
      }
      save(finalStores);
    });
  };
}

/** The start of a reduction, within the range of its type. */
function bounded(dtype: DType, start: number): number {
  if (isFloat(dtype) || Number.isFinite(start)) return start;
  if (dtype === "i32") return start > 0 ? 0x7fffffff : -0x80000000;
  return start > 0 ? 0xffffffff : 0;
}

function forEachPoint(
  dims: readonly number[],
  variables: number[],
  base: number,
  body: () => void,
  axis = 0,
): void {
  if (axis === dims.length) return body();
  for (let i = 0; i < dims[axis]!; i++) {
    variables[base + axis] = i;
    forEachPoint(dims, variables, base, body, axis + 1);
  }
}

/** Integers wrap; floats stay in double precision. */
function wrap(dtype: DType, value: number): number {
  if (dtype === "i32") return value | 0;
  if (dtype === "u32") return value >>> 0;
  return dtype === "bool" ? Number(value !== 0) : value;
}

function compileExpr(
  x: Expr,
  compile: (x: Expr) => (frame: Frame) => number,
): (frame: Frame) => number {
  const { op, dtype, value } = x;
  const args = x.args.map(compile);
  const [a, b] = args as [(frame: Frame) => number, (frame: Frame) => number];
  switch (op) {
    case "const":
      return () => value;
    case "variable":
      return ({ variables }) => variables[value]!;
    case "reduced":
      return ({ reduced }) => reduced[value]!;
    case "load":
      return (frame) => frame.arrays[value]![a(frame)]!;
    case "cast": {
      const truncates = isFloat(x.args[0]!.dtype) && (dtype === "i32" || dtype === "u32");
      return (frame) => wrap(dtype, truncates ? saturate(dtype, a(frame)) : a(frame));
    }
    case "bitcast": {
      const from = view(x.args[0]!.dtype), to = view(dtype);
      return (frame) => {
        from[0] = a(frame);
        return to[0]!;
      };
    }
    case "where": {
      const otherwise = args[2]!;
      return (frame) => a(frame) ? b(frame) : otherwise(frame);
    }
    default: {
      const { evaluate } = scalarOps[op as ScalarOp];
      const operand = x.args[0]!.dtype;
      return (frame) => wrap(dtype, evaluate(args.map((arg) => arg(frame)), operand));
    }
  }
}

/** A float as an integer: truncated, out of range to the nearest end, NaN to 0. */
function saturate(dtype: DType, value: number): number {
  if (Number.isNaN(value)) return 0;
  const [low, high] = dtype === "i32" ? [-0x80000000, 0x7fffffff] : [0, 0xffffffff];
  return Math.trunc(Math.min(high, Math.max(low, value)));
}

const bits = new ArrayBuffer(4);

/** The same four bytes as a type. */
function view(dtype: DType): Float32Array | Int32Array | Uint32Array {
  if (dtype === "f32") return new Float32Array(bits);
  return dtype === "i32" ? new Int32Array(bits) : new Uint32Array(bits);
}
