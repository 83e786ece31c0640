/** Tracing a function once per kind of argument, and replaying the compiled program. */
import type { Backend, DeviceBuffer } from "../backends/backend.ts";
import { canonicalize } from "../compiler/canonical.ts";
import { compile } from "../compiler/compile.ts";
import { currentDevice } from "../device.ts";
import { byteLength, makeSource, type Storage, type Value } from "../graph.ts";
import {
  bufferOf,
  compileOptions,
  describe,
  type Program,
  realizeNow,
  runProgram,
} from "../realize.ts";
import { Tensor } from "../tensor.ts";
import { flatten, treeEntries, type TreeStructure } from "../tree.ts";
import { inTrace, tracing } from "./trace.ts";

/** Options of `jit`. */
export interface JitOptions {
  /**
   * Positions of arguments whose memory the results may take over: parameters and optimizer state
   * in a training step, a cache in a sampling step. Their tensors can no longer be read after the
   * call.
   */
  readonly donate?: readonly number[];
  /** Shown in plans and messages; the function's own name by default. */
  readonly name?: string;
}

/** A jitted function. */
export interface Jitted<Arguments extends unknown[], Result> {
  (...args: Arguments): Result;
  /** Number of programs compiled so far: one per structure, shapes and types of the arguments. */
  readonly traces: number;
  /** Why the last program was compiled: what differs from the arguments of the one before. */
  readonly retrace: string;
  /** The plan of the last call: its steps and bytes, as text. */
  plan(): string;
}

interface Trace extends Program {
  readonly device: Backend;
  readonly structure: TreeStructure;
  /** Results: a value of the program, or a leaf that is no tensor. */
  readonly results: readonly ({ value: Value } | { constant: unknown })[];
  /** Tensors from outside the function, used as they were when it was traced. */
  readonly captured: readonly Value[];
  /** Memory of the program's own for arguments that come from the host, made at first use. */
  readonly uploads: Map<number, DeviceBuffer>;
  readonly donated: ReadonlySet<number>;
}

/**
 * Compiles a function of trees of tensors into one program that is replayed at every call: one
 * queue submission, and no memory allocated after the first call but for results that donated
 * arguments do not make room for.
 *
 * Leaves that are no tensors (numbers, strings, booleans) are constants: another value compiles
 * another program. Pass a number that changes as a tensor. The function must be pure.
 *
 * @param fn The function; inside `grad`, `vjp` or another jitted function it is just called.
 * @param options Donated arguments, and a name.
 * @returns A function of the same arguments.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { add, jit, mul, tensor, openDevice } from "../../mod.ts";
 * await openDevice("reference");
 * const f = jit((x: ReturnType<typeof tensor>) => add(mul(x, 2), 1));
 * assertEquals(await f(tensor([1, 2])).toArray(), [3, 5]);
 * assertEquals(await f(tensor([3, 4])).toArray(), [7, 9]);
 * assertEquals(f.traces, 1);
 * ```
 */
export function jit<Arguments extends unknown[], Result>(
  fn: (...args: Arguments) => Result,
  options: JitOptions = {},
): Jitted<Arguments, Result> {
  const traces = new Map<string, Trace>();
  let last: Trace | undefined;
  let before: Map<string, string> | undefined;
  let retrace = "not compiled yet";
  const call = (...args: Arguments): Result => {
    if (inTrace()) return fn(...args);
    const device = currentDevice();
    const { leaves, structure } = flatten(args);
    const key = `${device.name} ${structure.key} ${leaves.map(leafKey).join(" ")}`;
    let trace = traces.get(key);
    if (!trace) {
      const now = new Map(treeEntries<unknown>(args).map(([path, leaf]) => [path, leafKey(leaf)]));
      retrace = before ? difference(before, now) : "first call";
      before = now;
      const donated = donatedLeaves(args, options.donate ?? []);
      trace = traceFunction(device, fn, leaves, structure, donated);
      traces.set(key, trace);
    }
    last = trace;
    return run(trace, leaves) as Result;
  };
  return Object.defineProperties(call, {
    traces: { get: () => traces.size },
    retrace: { get: () => retrace },
    name: { value: options.name ?? fn.name },
    plan: { value: () => last ? describePlan(last) : "not compiled yet" },
  }) as Jitted<Arguments, Result>;
}

function leafKey(leaf: unknown): string {
  if (leaf instanceof Tensor) return describe(leaf.value);
  if (typeof leaf === "function") {
    throw new TypeError("jit: expected tensors and constants as arguments but found a function");
  }
  return `${typeof leaf}:${String(leaf)}`;
}

/** What differs between the arguments of two calls, path by path. */
function difference(before: Map<string, string>, now: Map<string, string>): string {
  const changes: string[] = [];
  for (const [path, kind] of now) {
    const old = before.get(path);
    if (old === undefined) changes.push(`argument ${path} is new: ${kind}`);
    else if (old !== kind) changes.push(`argument ${path} was ${old} and is ${kind}`);
  }
  for (const [path, kind] of before) {
    if (!now.has(path)) changes.push(`argument ${path} is gone: ${kind}`);
  }
  return changes.length > 0 ? changes.join("; ") : "another device or order of keys";
}

/** The positions of the tensors of donated arguments among all tensors of the arguments. */
function donatedLeaves(args: readonly unknown[], donate: readonly number[]): Set<number> {
  const donated = new Set<number>();
  let next = 0;
  for (const [i, arg] of args.entries()) {
    for (const leaf of flatten(arg).leaves) {
      if (!(leaf instanceof Tensor)) continue;
      if (donate.includes(i)) donated.add(next);
      next++;
    }
  }
  return donated;
}

function traceFunction<Arguments extends unknown[], Result>(
  device: Backend,
  fn: (...args: Arguments) => Result,
  leaves: readonly unknown[],
  structure: TreeStructure,
  donated: ReadonlySet<number>,
): Trace {
  const parameters: Value[] = [];
  const result = tracing(() => {
    const symbols = leaves.map((leaf) => {
      if (!(leaf instanceof Tensor)) return leaf;
      const parameter = makeSource(leaf.value);
      parameters.push(parameter);
      return new Tensor(parameter);
    });
    return fn(...structure.build(symbols) as Arguments);
  });
  const flat = flatten(result);
  const outputs = flat.leaves.filter((leaf) => leaf instanceof Tensor).map((x) => x.value);
  const graph = canonicalize(outputs, parameters);
  const compiled = compile(graph, { ...compileOptions(device), donated });
  return {
    ...compiled,
    executable: device.prepare(compiled.plan),
    device,
    structure: flat.structure,
    results: flat.leaves.map((leaf) =>
      leaf instanceof Tensor ? { value: leaf.value } : { constant: leaf }
    ),
    captured: graph.inputs.slice(parameters.length).map(({ value }) => value),
    uploads: new Map(),
    donated,
  };
}

function run(trace: Trace, leaves: readonly unknown[]): unknown {
  const { device } = trace;
  const args = leaves.filter((leaf) => leaf instanceof Tensor).map((x) => x.value);
  realizeNow(device, args);
  const outputsOverInputs = new Set(trace.outputs);
  const buffers: DeviceBuffer[] = [];
  const taken = new Map<number, Storage | undefined>();
  for (const [i, value] of args.entries()) {
    const fromHost = value.host && !value.storage && !trace.donated.has(i) &&
      !outputsOverInputs.has(i);
    if (fromHost) {
      let buffer = trace.uploads.get(i);
      if (!buffer) {
        buffer = device.allocate(Math.max(4, byteLength(value)), `argument ${describe(value)}`);
        trace.uploads.set(i, buffer);
      }
      device.write(buffer, value, value.host!);
      buffers.push(buffer);
      continue;
    }
    buffers.push(bufferOf(device, value));
    if (trace.donated.has(i) && outputsOverInputs.has(i)) taken.set(i, value.storage);
  }
  const donatedTwice = [...taken.keys()].find((i) =>
    args.some((value, j) => j !== i && value.storage && value.storage === args[i]!.storage)
  );
  if (donatedTwice !== undefined) {
    throw new Error(
      `jit: expected a donated tensor to be passed once but found ${
        describe(args[donatedTwice]!)
      } among the arguments again`,
    );
  }
  for (const value of trace.captured) buffers.push(bufferOf(device, value));
  const values = trace.results.flatMap((result) =>
    "value" in result ? [makeSource(result.value)] : []
  );
  // Outputs that are inputs share their memory; a donated one changes hands.
  for (const storage of taken.values()) storage?.take();
  runProgram(device, trace, buffers, values, (at) => {
    const value = at < args.length ? args[at]! : trace.captured[at - args.length]!;
    return taken.has(at) ? undefined : value.storage;
  });
  for (const i of trace.donated) if (!taken.has(i)) args[i]!.storage?.release();
  let next = 0;
  return trace.structure.build(
    trace.results.map((result) =>
      "value" in result ? new Tensor(values[next++]!) : result.constant
    ),
  );
}

function describePlan({ plan }: Trace): string {
  const lines = plan.steps.map((step, i) => {
    const shapes = step.writes.map((id) => {
      const { type } = plan.buffers[id]!;
      return `${type.dtype}[${type.shape.join(", ")}]`;
    });
    return `${String(i).padStart(4)}  ${step.kind.padEnd(6)}  ${step.name} -> ${shapes.join(", ")}`;
  });
  const inputs = plan.bound.reduce((sum, id) => sum + plan.buffers[id]!.bytes, 0);
  return [
    ...lines,
    `${plan.steps.length} steps, ${inputs} bytes of arguments and results, ${plan.temporaryBytes} bytes of temporaries`,
  ].join("\n");
}
