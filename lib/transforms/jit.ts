/** Tracing a function once per kind of argument, and replaying the compiled program. */
import type { Backend, DeviceBuffer } from "../backends/backend.ts";
import { canonicalize } from "../compiler/canonical.ts";
import { compile } from "../compiler/compile.ts";
import type { Plan } from "../compiler/plan.ts";
import { reportTrace } from "../debug/report.ts";
import { showPlan } from "../debug/show_plan.ts";
import { currentDevice } from "../device.ts";
import type { DType } from "../dtype.ts";
import { byteLength, makeSource, type Storage, type Value } from "../graph.ts";
import {
  bufferOf,
  compileOptions,
  prepareProgram,
  type Program,
  realizeNow,
  runProgram,
} from "../realize.ts";
import { type Shape, showType } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { flatten, treeEntries, type TreeStructure } from "../tree.ts";
import { type EarlyResults, groupResults, handOver, type ResultGroup } from "./early_results.ts";
import { constantValues, holdConstants } from "./constants.ts";
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
  /** Takes the tensors of the result while the rest of the program still runs. */
  readonly early?: EarlyResults;
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
  /** In which order results are ready, where someone takes them early. */
  readonly groups: readonly ResultGroup[];
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
  // A device that is no longer used takes its programs with it.
  const traces = new WeakMap<Backend, Map<string, Trace>>();
  let count = 0;
  let last: Trace | undefined;
  let before: Map<string, string> | undefined;
  let retrace = "not compiled yet";
  const name = options.name ?? (fn.name || "jit");
  const call = (...args: Arguments): Result => {
    if (inTrace()) return fn(...args);
    const device = currentDevice();
    const { leaves, structure } = flatten(args);
    const key = `${structure.key} ${leaves.map(leafKey).join(" ")}`;
    let known = traces.get(device);
    if (!known) traces.set(device, known = new Map());
    let trace = known.get(key);
    if (!trace) {
      const now = new Map(treeEntries<unknown>(args).map(([path, leaf]) => [path, leafKey(leaf)]));
      retrace = before ? difference(before, now) : "first call";
      reportTrace(name, retrace);
      before = now;
      const donated = donatedLeaves(args, options.donate);
      trace = makeTrace(device, name, fn, { leaves, structure, donated }, options.early);
      known.set(key, trace);
      count++;
    }
    last = trace;
    return run(trace, leaves, options.early) as Result;
  };
  return Object.defineProperties(call, {
    traces: { get: () => count },
    retrace: { get: () => retrace },
    name: { value: name },
    plan: { value: () => last ? showPlan(last.plan) : "not compiled yet" },
  }) as Jitted<Arguments, Result>;
}

function leafKey(leaf: unknown): string {
  if (leaf instanceof Tensor) return showType(leaf.value);
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
function donatedLeaves(args: readonly unknown[], donate: readonly number[] = []): Set<number> {
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

/** The arguments of a call as the compiler sees them. */
interface TracedArguments {
  readonly leaves: readonly unknown[];
  readonly structure: TreeStructure;
  /** The positions of donated tensors among all tensors. */
  readonly donated: ReadonlySet<number>;
}

/** Traces and compiles a function; of the tensors among the leaves only the types matter. */
function compileFunction<Parameters extends unknown[], Result>(
  device: Backend,
  fn: (...args: Parameters) => Result,
  { leaves, structure, donated }: TracedArguments,
) {
  const parameters: Value[] = [];
  const result = tracing(() => {
    const symbols = leaves.map((leaf) => {
      if (!(leaf instanceof Tensor)) return leaf;
      const parameter = makeSource(leaf.value);
      parameters.push(parameter);
      return new Tensor(parameter);
    });
    return fn(...structure.build(symbols) as Parameters);
  });
  const results = flatten(result);
  const outputs = results.leaves.filter((leaf) => leaf instanceof Tensor).map((x) => x.value);
  const graph = canonicalize(outputs, parameters, constantValues(outputs, parameters));
  const compiled = compile(graph, { ...compileOptions(device), donated });
  const captured = graph.inputs.slice(parameters.length).map(({ value }) => value);
  return { compiled, results, captured };
}

/**
 * The plan of a function, compiled for the current device but neither prepared nor run: its steps,
 * memory and cost are known without taking any.
 *
 * @param fn The function, as for `jit`.
 * @param args Its arguments; of tensors only shape and type matter (see `placeholder`).
 * @param options The donated arguments.
 * @returns The plan; see `showPlan`, `memoryReport` and `planCost`.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { matmul, openDevice, placeholder, planCost, planOf } from "../../mod.ts";
 * await openDevice("reference");
 * const x = placeholder([4096, 4096]);
 * assertEquals(planCost(planOf(matmul, [x, x])).flops, 2 * 4096 ** 3);
 * ```
 */
export function planOf<Parameters extends unknown[]>(
  fn: (...args: Parameters) => unknown,
  args: Parameters,
  options: Pick<JitOptions, "donate"> = {},
): Plan {
  const donated = donatedLeaves(args, options.donate);
  return compileFunction(currentDevice(), fn, { ...flatten(args), donated }).compiled.plan;
}

/**
 * A tensor without elements, to stand for one of its shape and type where nothing is computed.
 *
 * @param shape The lengths of its axes.
 * @param dtype The type of its elements.
 * @returns The tensor; reading it is an error.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { placeholder } from "./jit.ts";
 * assertEquals(String(placeholder([2 ** 20, 2 ** 20], "f16")), "f16[1048576, 1048576]");
 * ```
 */
export function placeholder(shape: Shape, dtype: DType = "f32"): Tensor {
  return new Tensor(makeSource({ shape, dtype }));
}

function makeTrace<Parameters extends unknown[], Result>(
  device: Backend,
  name: string,
  fn: (...args: Parameters) => Result,
  given: TracedArguments,
  early?: EarlyResults,
): Trace {
  const { compiled, results, captured } = compileFunction(device, fn, given);
  holdConstants(device, captured.filter((value) => !value.known));
  return {
    ...prepareProgram(device, name, compiled),
    device,
    structure: results.structure,
    results: results.leaves.map((leaf) =>
      leaf instanceof Tensor ? { value: leaf.value } : { constant: leaf }
    ),
    captured,
    uploads: new Map(),
    donated: given.donated,
    groups: early ? groupResults(compiled.plan, compiled.outputs, early.bytes) : [],
  };
}

function run(trace: Trace, leaves: readonly unknown[], early?: EarlyResults): unknown {
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
        buffer = device.allocate(Math.max(4, byteLength(value)), `argument ${showType(value)}`);
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
        showType(args[donatedTwice]!)
      } among the arguments again`,
    );
  }
  for (const value of trace.captured) buffers.push(bufferOf(device, value));
  const values = trace.results.flatMap((result) =>
    "value" in result ? [makeSource(result.value)] : []
  );
  const tensors = values.map((value) => new Tensor(value));
  const listener = early && handOver(trace.groups, tensors, early);
  // Outputs that are inputs share their memory; a donated one changes hands.
  for (const storage of taken.values()) storage?.take();
  runProgram(device, trace, buffers, values, (at) => {
    const value = at < args.length ? args[at]! : trace.captured[at - args.length]!;
    return taken.has(at) ? undefined : value.storage;
  }, listener);
  listener?.reached(Infinity); // of a program without steps
  for (const i of trace.donated) if (!taken.has(i)) args[i]!.storage?.release();
  let next = 0;
  return trace.structure.build(
    trace.results.map((result) => "value" in result ? tensors[next++]! : result.constant),
  );
}
