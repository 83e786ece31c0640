/** What the tests of WGSL share: a device, and single steps run on host arrays. */
import { openDevice, use } from "../../device.ts";
import type { DType, HostArray } from "../../dtype.ts";
import { bytesPerElement } from "../../dtype.ts";
import type { Attributes, KernelRule, TensorType, View } from "../../op.ts";
import { rowMajorStrides, type Shape, sizeOf } from "../../shape.ts";
import type { LoopKernel, LoopStep, Plan, PlanBuffer, Step } from "../../compiler/plan.ts";
import { type Tensor, tensor } from "../../tensor.ts";
import type { Backend } from "../backend.ts";
import { openWebgpu } from "./mod.ts";
import { splitReduction } from "./split_reduction.ts";

const backend = await openWebgpu({ allowSoftware: true });
const required = Deno.env.get("TESSERA_REQUIRE_WEBGPU") === "1";

/** A test that is left out where there is no adapter, unless TESSERA_REQUIRE_WEBGPU=1. */
export function webgpuTest(name: string, test: (backend: Backend) => void | Promise<void>) {
  Deno.test({
    name,
    ignore: !backend && !required,
    fn() {
      if (!backend) throw new Error("expected a WebGPU adapter but found none");
      return test(backend);
    },
  });
}

/** A row-major host array with its shape and type. */
export interface HostTensor extends TensorType {
  readonly data: HostArray;
}

/** Runs steps whose operands are these buffers, and behind them the scratch. */
async function runSteps(
  backend: Backend,
  types: readonly TensorType[],
  scratch: readonly TensorType[],
  steps: readonly Step[],
  given: ReadonlyMap<number, HostArray>,
  wanted: readonly number[],
): Promise<HostArray[]> {
  const all = [...types, ...scratch].map((type, id): PlanBuffer => ({
    id,
    type,
    bytes: sizeOf(type.shape) * bytesPerElement[type.dtype],
    label: `operand ${id}`,
  }));
  const planned = all.slice(0, types.length), temporaries = all.slice(types.length);
  const executable = backend.prepare({
    buffers: all,
    steps,
    bound: planned.map(({ id }) => id),
    temporaries: new Map(temporaries.map(({ id }, slot) => [id, { offset: 0, slot }])),
    temporaryBytes: 0,
    slotBytes: temporaries.map(({ bytes }) => bytes),
  });
  const buffers = planned.map(({ bytes, label }) => backend.allocate(bytes, label));
  for (const [id, data] of given) backend.write(buffers[id]!, types[id]!, data);
  executable.run(buffers);
  const results = await Promise.all(
    wanted.map((id) => backend.read(buffers[id]!, types[id]!)),
  );
  executable.dispose();
  for (const buffer of buffers) backend.release(buffer);
  return results;
}

/**
 * Runs a loop kernel.
 *
 * @param reads The operands that it reads.
 * @param writes Types of what it writes.
 * @param inPlace For each write, the read whose buffer it takes over, if any.
 * @param parts Into how many parts to cut the rows.
 * @returns The arrays written.
 */
export function runLoop(
  backend: Backend,
  kernel: LoopKernel,
  reads: readonly HostTensor[],
  writes: readonly TensorType[],
  { inPlace = [], parts = 1 }: {
    readonly inPlace?: readonly (number | undefined)[];
    readonly parts?: number;
  } = {},
): Promise<HostArray[]> {
  const writeIds = writes.map((_, i) => inPlace[i] ?? reads.length + i);
  const step: LoopStep = {
    kind: "loop",
    name: "loop",
    kernel,
    reads: reads.map((_, i) => i),
    writes: writeIds,
  };
  const given = new Map(reads.map(({ data }, i) => [i, data]));
  const scratch: TensorType[] = [];
  const steps = parts === 1 ? [step] : splitReduction(
    step,
    parts,
    (dtype, elements) =>
      reads.length + writes.length + scratch.push({ shape: [elements], dtype }) - 1,
  );
  return runSteps(backend, [...reads, ...writes], scratch, steps, given, writeIds);
}

/** An operand of a kernel: a host array, and the view of it that the kernel gets. */
export interface ViewedTensor extends HostTensor {
  readonly view?: View;
}

/**
 * Runs the WGSL of a kernel op.
 *
 * @param run Its `wgsl`, and `scratch` where it has that.
 * @param inputs The operands.
 * @param outputs Types of the results.
 * @returns The results.
 */
export function runKernel(
  backend: Backend,
  run: Pick<KernelRule, "wgsl" | "scratch" | "inPlace">,
  inputs: readonly ViewedTensor[],
  outputs: readonly TensorType[],
  attributes: Attributes = {},
): Promise<HostArray[]> {
  const spec = {
    attributes,
    inputs: inputs.map((input) => input.view ?? rowMajorView(input)),
    outputs: outputs.map(rowMajorView),
  };
  const scratch = (run.scratch?.(spec, "webgpu") ?? [])
    .map((bytes): TensorType => ({ shape: [bytes / 4], dtype: "f32" }));
  const reads = inputs.map((_, i) => i);
  const writes = outputs.map((_, i) =>
    i === 0 && run.inPlace !== undefined ? run.inPlace : inputs.length + i
  );
  const step: Step = {
    kind: "kernel",
    name: "kernel",
    op: {
      name: "kernel",
      infer: () => outputs,
      run: { kind: "kernel", acceptsViews: true, cpu() {}, ...run },
    },
    attributes,
    spec,
    reads,
    writes,
    scratch: scratch.map((_, i) => inputs.length + outputs.length + i),
  };
  const given = new Map(inputs.map(({ data }, i) => [i, data]));
  return runSteps(backend, [...inputs, ...outputs], scratch, [step], given, writes);
}

/**
 * Runs a plan of one kernel on a device with another WGSL of its op.
 *
 * @param plan The plan.
 * @param inputs The first of its bound buffers.
 * @param wgsl What to run instead.
 * @returns The other bound buffers.
 */
export async function runPlanWith(
  backend: Backend,
  plan: Plan,
  inputs: readonly HostTensor[],
  wgsl: KernelRule["wgsl"],
): Promise<HostArray[]> {
  const [step, ...others] = plan.steps;
  if (step?.kind !== "kernel" || others.length > 0) {
    throw new TypeError(
      `runPlanWith: expected a plan of one kernel but found ${
        plan.steps.map(({ name }) => name).join(", ")
      }`,
    );
  }
  const op = { ...step.op, run: { ...step.op.run, wgsl } };
  const executable = backend.prepare({ ...plan, steps: [{ ...step, op }] });
  const types = plan.bound.map((id) => plan.buffers[id]!);
  const buffers = types.map(({ bytes, label }) => backend.allocate(bytes, label));
  inputs.forEach(({ data }, i) => backend.write(buffers[i]!, types[i]!.type, data));
  executable.run(buffers);
  const results = await Promise.all(
    types.slice(inputs.length).map(({ type }, i) =>
      backend.read(buffers[inputs.length + i]!, type)
    ),
  );
  executable.dispose();
  for (const buffer of buffers) backend.release(buffer);
  return results;
}

/** The view of a whole row-major tensor. */
export function rowMajorView({ shape, dtype }: TensorType): View {
  return { shape, dtype, strides: rowMajorStrides(shape), offset: 0 };
}

/** A tensor of numbers from a function of the flat index. */
export function tensorOf(
  dtype: DType,
  shape: Shape,
  value: (i: number) => number,
): HostTensor {
  const make = { f32: Float32Array, f16: Float16Array, i32: Int32Array, u32: Uint32Array };
  const Array = dtype === "bool" ? Uint8Array : make[dtype];
  const data = new Array(sizeOf(shape));
  for (let i = 0; i < data.length; i++) data[i] = value(i);
  return { shape, dtype, data };
}

/** Numbers in -1..1 that look random and are the same every time. */
export function noise(seed: number): (i: number) => number {
  return (i) => {
    const x = Math.sin((i + 1) * 12.9898 + seed * 78.233) * 43758.5453;
    return 2 * (x - Math.floor(x)) - 1;
  };
}

/** Throws unless every element is within `tolerance` of what it should be (NaN equals NaN). */
export function assertClose(
  found: ArrayLike<number>,
  wanted: ArrayLike<number>,
  tolerance = 1e-5,
  what = "result",
) {
  if (found.length !== wanted.length) {
    throw new Error(`${what}: expected ${wanted.length} elements but found ${found.length}`);
  }
  for (let i = 0; i < wanted.length; i++) {
    const a = found[i]!, b = wanted[i]!;
    if (Object.is(a, b) || a === b || Math.abs(a - b) <= tolerance * Math.max(1, Math.abs(b))) {
      continue;
    }
    throw new Error(`${what}: expected element ${i} to be ${b} but found ${a}`);
  }
}

/** What a function gives in float64. */
export async function onReference(
  run: (...x: Tensor[]) => Tensor[],
  given: readonly HostTensor[],
): Promise<ArrayLike<number>[]> {
  use(await openDevice("reference"));
  const inputs = given.map(({ data, shape, dtype }) => tensor(data, { shape, dtype }));
  return await Promise.all(run(...inputs).map((y) => y.data() as Promise<ArrayLike<number>>));
}
