/**
 * The reference device: plain TypeScript in float64, one op at a time, slow and obvious. It exists
 * to be right; the other devices are tested against it. Floats are never rounded to their type
 * (but for `bitcast`, where the bits matter); integers wrap.
 */
import { type DType, type HostArray, hostArray, isFloat } from "../dtype.ts";
import { type Expr, walk } from "../compiler/expr.ts";
import type { LoopKernel, LoopReduction, LoopStore, Plan, Step } from "../compiler/plan.ts";
import { type ScalarOp, scalarOps } from "../compiler/scalar_ops.ts";
import type { KernelOperand, TensorType } from "../op.ts";
import { sizeOf } from "../shape.ts";
import type { Backend, DeviceBuffer, DeviceCounters, Executable } from "./backend.ts";
import { newCounters } from "./counters.ts";
import { timeSteps } from "./time_steps.ts";

/** Memory of the reference device: every element is a double, whatever its type. */
interface Memory extends DeviceBuffer {
  elements: Float64Array;
}

/** The elements of a buffer as a value of some size; made when first asked for. */
function elementsOf(buffer: DeviceBuffer, size: number): Float64Array {
  const memory = buffer as Memory;
  if (memory.elements.length < size) memory.elements = new Float64Array(size);
  return memory.elements.subarray(0, size);
}

/**
 * Opens the reference device.
 *
 * @param options `fuses`: run fused kernels instead of one op at a time, to test fusion.
 * @returns The device.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openReference } from "./reference.ts";
 * assertEquals(openReference().name, "reference");
 * ```
 */
export function openReference({ fuses = false }: { fuses?: boolean } = {}): Backend {
  const counters = newCounters();
  const limits = { buffersPerKernel: Infinity, bytesPerBuffer: 2 ** 32 };
  return {
    name: "reference",
    description: "plain TypeScript in float64",
    features: { f16: true },
    counters,
    limits,
    fuses,
    acceptsViews: () => false,
    allocate(bytes, label): Memory {
      if (bytes > limits.bytesPerBuffer) {
        throw new RangeError(
          `reference: expected at most ${limits.bytesPerBuffer} bytes for ${label} but found ${bytes}`,
        );
      }
      counters.allocations++;
      counters.bytesLive += bytes;
      counters.bytesPeak = Math.max(counters.bytesPeak, counters.bytesLive);
      return { bytes, elements: new Float64Array(0) };
    },
    release(buffer) {
      counters.bytesLive -= buffer.bytes;
      (buffer as Memory).elements = new Float64Array(0);
    },
    write(buffer, type, data) {
      elementsOf(buffer, sizeOf(type.shape)).set(data);
    },
    read(buffer, type) {
      counters.readbacks++;
      return Promise.resolve(toHost(type, elementsOf(buffer, sizeOf(type.shape))));
    },
    prepare(plan) {
      counters.compilations++;
      return prepare(plan, counters);
    },
    synchronize: () => Promise.resolve(),
    close() {},
  };
}

function toHost(type: TensorType, elements: Float64Array): HostArray {
  const result = hostArray(type.dtype, elements.length);
  result.set(elements);
  return result;
}

function prepare(plan: Plan, counters: DeviceCounters): Executable {
  const slots = plan.slotBytes.map((bytes): Memory => ({ bytes, elements: new Float64Array(0) }));
  const runs = plan.steps.map((step) => prepareStep(plan, step));
  const run = (bound: readonly DeviceBuffer[], finished: (step: number) => void = () => {}) => {
    const place = new Map(plan.bound.map((id, position) => [id, bound[position]!]));
    for (const [id, { slot }] of plan.temporaries) place.set(id, slots[slot]!);
    const elements = (id: number) =>
      elementsOf(place.get(id)!, sizeOf(plan.buffers[id]!.type.shape));
    for (const [step, run] of runs.entries()) {
      run(elements);
      finished(step);
    }
    counters.dispatches += runs.length;
    counters.submissions++;
  };
  return {
    run: (bound, listener) => run(bound, listener?.reached),
    profile: (bound) => timeSteps((finished) => run(bound, finished)),
    dispose() {
      for (const slot of slots) slot.elements = new Float64Array(0);
    },
  };
}

/** Runs a step on the elements of buffers by id. */
type Run = (elements: (id: number) => Float64Array) => void;

function prepareStep(plan: Plan, step: Step): Run {
  switch (step.kind) {
    case "copy":
      return (elements) => elements(step.writes[0]).set(elements(step.reads[0]));
    case "kernel":
      return (elements) => {
        const operand = (type: TensorType, id: number): KernelOperand => ({
          shape: type.shape,
          dtype: type.dtype,
          data: elements(id),
        });
        step.op.run.cpu(
          step.spec.inputs.map((type, i) => operand(type, step.reads[i]!)),
          step.spec.outputs.map((type, i) => operand(type, step.writes[i]!)),
          step.attributes,
        );
      };
    case "loop": {
      const loop = prepareLoop(step.kernel);
      const sizes = step.reads.map((id) => sizeOf(plan.buffers[id]!.type.shape));
      return (elements) =>
        loop(
          step.reads.map((id, i) => elements(id).subarray(0, sizes[i])),
          step.writes.map(elements),
        );
    }
  }
}

/** Calls `body` with `point[first…]` at every index of a shape, in row-major order. */
function forEachPoint(
  shape: readonly number[],
  point: Int32Array,
  first: number,
  body: () => void,
) {
  const count = sizeOf(shape);
  point.fill(0, first, first + shape.length);
  for (let i = 0; i < count; i++) {
    body();
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      if (++point[first + axis]! < shape[axis]!) break;
      point[first + axis] = 0;
    }
  }
}

/** A loop kernel as a function of the arrays that it reads and writes. */
function prepareLoop(kernel: LoopKernel): (reads: Float64Array[], writes: Float64Array[]) => void {
  const state: Machine = {
    point: new Int32Array(kernel.rows.length + kernel.columns.length),
    reads: [],
    accumulators: [],
  };
  let writes: Float64Array[] = [];
  const stores = (list: readonly LoopStore[]) => {
    const evaluate = compile(list.flatMap(({ index, value }) => [index, value]), state);
    return () => {
      const values = evaluate();
      for (const [i, { slot }] of list.entries()) {
        writes[slot]![values[2 * i]!] = values[2 * i + 1]!;
      }
    };
  };
  const passes = kernel.passes.map((pass) => {
    const evaluate = compile(pass.reductions.map(({ value }) => value), state);
    const store = stores(pass.stores);
    return { reductions: pass.reductions, evaluate, store };
  });
  const storeRow = stores(kernel.rowStores);
  const row = () => {
    for (const { reductions, evaluate, store } of passes) {
      const totals = reductions.map(({ reduce }) => initial[reduce]);
      forEachPoint(kernel.columns, state.point, kernel.rows.length, () => {
        const values = evaluate();
        for (const [i, reduction] of reductions.entries()) {
          totals[i] = combine(reduction, totals[i]!, values[i]!);
        }
        store();
      });
      for (const [i, { id }] of reductions.entries()) state.accumulators[id] = totals[i]!;
    }
    storeRow();
  };
  return (from, to) => {
    state.reads = from;
    writes = to;
    forEachPoint(kernel.rows, state.point, 0, row);
  };
}

const initial = { sum: 0, product: 1, maximum: -Infinity, minimum: Infinity };
const combining = { sum: "add", product: "mul", maximum: "maximum", minimum: "minimum" } as const;

function combine({ reduce, dtype }: LoopReduction, a: number, b: number): number {
  return wrap(dtype, scalarOps[combining[reduce]].evaluate([a, b], dtype));
}

/** What the expressions of a running loop see. */
interface Machine {
  readonly point: Int32Array;
  reads: Float64Array[];
  readonly accumulators: number[];
}

/**
 * Expressions as one function that evaluates all of them at the machine's current point: a list of
 * instructions, one for each distinct node, arguments first.
 */
function compile(roots: readonly Expr[], state: Machine): () => readonly number[] {
  const values: number[] = [];
  const position = new Map<Expr, number>();
  const instructions: (() => void)[] = [];
  walk(roots, (x) => {
    const at = values.length;
    const from = x.args.map((arg) => position.get(arg)!);
    position.set(x, at);
    values.push(x.value);
    const evaluate = instruction(x, from, values, state);
    if (evaluate) instructions.push(() => values[at] = evaluate());
  });
  const results = roots.map((root) => position.get(root)!);
  return () => {
    for (const run of instructions) run();
    return results.map((at) => values[at]!);
  };
}

function instruction(
  x: Expr,
  from: readonly number[],
  values: readonly number[],
  state: Machine,
): (() => number) | undefined {
  const [a] = from;
  switch (x.op) {
    case "const":
      return undefined;
    case "variable":
      return () => state.point[x.value]!;
    case "load":
      return () => state.reads[x.value]![values[a!]!]!;
    case "reduced":
      return () => state.accumulators[x.value]!;
    case "cast": {
      const source = x.args[0]!.dtype;
      return () => convert(values[a!]!, source, x.dtype);
    }
    case "bitcast": {
      const source = x.args[0]!.dtype;
      return () => readBits(values[a!]!, source, x.dtype);
    }
    default: {
      const { evaluate } = scalarOps[x.op as ScalarOp];
      const operand = (x.op === "where" ? x.args[1] : x.args[0])!.dtype;
      return () => wrap(x.dtype, evaluate(from.map((at) => values[at]!), operand));
    }
  }
}

/** An integer brought back into the range of its type; floats stay as they are. */
function wrap(dtype: DType, value: number): number {
  return dtype === "i32" ? value | 0 : dtype === "u32" ? value >>> 0 : value;
}

function convert(value: number, from: DType, to: DType): number {
  if (to === "bool") return Number(value !== 0);
  if (!isFloat(from) || isFloat(to)) return wrap(to, value);
  const [lowest, highest] = to === "i32" ? [-(2 ** 31), 2 ** 31 - 1] : [0, 2 ** 32 - 1];
  return Number.isNaN(value) ? 0 : Math.min(highest, Math.max(lowest, Math.trunc(value)));
}

const bits = new DataView(new ArrayBuffer(4));

function readBits(value: number, from: DType, to: DType): number {
  if (from === "f32") bits.setFloat32(0, value);
  else bits.setUint32(0, value);
  return to === "f32" ? bits.getFloat32(0) : to === "i32" ? bits.getInt32(0) : bits.getUint32(0);
}
