/** What the tests of the WebAssembly backend share: kernels and programs run on two devices. */
import { ok as assert } from "node:assert/strict";
import { use } from "../../device.ts";
import type { DType, HostArray } from "../../dtype.ts";
import { hostArray } from "../../dtype.ts";
import { type Tensor, tensor } from "../../tensor.ts";
import { jit } from "../../transforms/jit.ts";
import type { TensorType } from "../../op.ts";
import type { LoopKernel, Plan, PlanBuffer } from "../../compiler/plan.ts";
import type { Backend } from "../backend.ts";
import { sizeOf } from "../../shape.ts";
import { openReference } from "../reference.ts";
import { openWasm } from "./mod.ts";

const reference = openReference();
let device: Backend | undefined;

/** Declares a test; workers outlive it. */
export function wasmTest(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, fn, sanitizeOps: false, sanitizeResources: false });
}

/** Numbers in [-1, 1], or whole numbers in 0..below-1, that are alike in every run. */
export function noise(shape: readonly number[], seed: number, below?: number): HostTensor {
  let state = 2 * seed + 1;
  const dtype = below === undefined ? "f32" : "i32";
  const data = hostArray(dtype, sizeOf(shape));
  for (let i = 0; i < data.length; i++) {
    state = (state * 48271) % 2147483647;
    const unit = state / 2147483647;
    data[i] = below === undefined ? 2 * unit - 1 : Math.floor(below * unit);
  }
  return { shape, dtype, data };
}

/** Asserts that a jitted function gives the same on this backend as on the reference. */
export async function assertSameAsReference(
  fn: (...x: Tensor[]) => Tensor[],
  operands: readonly HostTensor[],
  tolerance: number,
  message = "",
): Promise<void> {
  device ??= await openWasm({ threads: 2 });
  const results: HostArray[][] = [];
  for (const on of [device, reference]) {
    use(on);
    const compiled = jit((x: Tensor[]) => fn(...x));
    const inputs = operands.map(({ data, shape, dtype }) => tensor(data, { shape, dtype }));
    results.push(await Promise.all(compiled(inputs).map((x) => x.data())));
  }
  for (const [i, actual] of results[0]!.entries()) {
    const error = largestError(actual, results[1]![i]!);
    assert(error <= tolerance, `${message} result ${i}: error ${error}`);
  }
}

/** A row-major host array with its shape and type. */
export interface HostTensor extends TensorType {
  readonly data: HostArray;
}

/** Runs one loop kernel on a device; `inPlace` gives the read that a write takes over, if any. */
export async function runLoop(
  device: Backend,
  kernel: LoopKernel,
  reads: readonly HostTensor[],
  writes: readonly { readonly size: number; readonly dtype: DType }[],
  inPlace: readonly (number | undefined)[] = [],
): Promise<HostArray[]> {
  const buffers: PlanBuffer[] = [];
  const add = (type: TensorType): number => {
    const id = buffers.length;
    buffers.push({ id, type, bytes: Math.max(4, 4 * sizeOf(type.shape)), label: `buffer ${id}` });
    return id;
  };
  const readIds = reads.map(({ shape, dtype }) => add({ shape, dtype }));
  const writeIds = writes.map(({ size, dtype }, i) =>
    inPlace[i] === undefined ? add({ shape: [size], dtype }) : readIds[inPlace[i]!]!
  );
  const plan: Plan = {
    buffers,
    steps: [{ kind: "loop", name: "loop", kernel, reads: readIds, writes: writeIds }],
    bound: buffers.map(({ id }) => id),
    temporaries: new Map(),
    temporaryBytes: 0,
    slotBytes: [],
  };
  const memory = buffers.map(({ bytes, label }) => device.allocate(bytes, label));
  reads.forEach((read, i) => device.write(memory[readIds[i]!]!, read, read.data));
  const executable = device.prepare(plan);
  executable.run(memory);
  const results = await Promise.all(
    writes.map(({ size, dtype }, i) =>
      device.read(memory[writeIds[i]!]!, { shape: [size], dtype })
    ),
  );
  executable.dispose();
  memory.forEach((buffer) => device.release(buffer));
  return results;
}

/** The largest error of some results, relative to the largest expected value around 1 or more. */
export function largestError(actual: HostArray, expected: HostArray): number {
  let largest = 0;
  for (let i = 0; i < expected.length; i++) {
    const a = actual[i]!, b = expected[i]!;
    if (Object.is(a, b) || a === b) continue;
    const error = Math.abs(a - b) / Math.max(1, Math.abs(b));
    largest = Math.max(largest, Number.isNaN(error) ? Infinity : error);
  }
  return largest;
}
