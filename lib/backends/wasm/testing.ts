/** What the tests of the WebAssembly backend share: single kernels run on any device. */
import type { DType, HostArray } from "../../dtype.ts";
import type { TensorType } from "../../op.ts";
import type { LoopKernel, Plan, PlanBuffer } from "../../compiler/plan.ts";
import type { Backend } from "../backend.ts";
import { sizeOf } from "../../shape.ts";

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
