/** Sums over processes that begin while the program that computes the summands still runs. */
import { realize, Tensor } from "../tensor.ts";
import { flatten } from "../tree.ts";
import type { EarlyResults } from "../transforms/early_results.ts";
import { type HostTensor, inPlace, onHost } from "./host.ts";
import type { Mpi } from "./mpi.ts";

/** Results are sent in buckets of about so many bytes. */
const bucketBytes = 2 ** 24;

/** Tensors of fewer elements are sent together. */
const smallElements = 2 ** 18;

/** Sums, or means, over all processes of the results of a jitted function. */
export interface OverlappedSums {
  /** The option of `jit` for the function. */
  readonly early: EarlyResults;
  /** To be called before the call of the function whose results are summed; those of other calls are not. */
  begin(): void;
  /**
   * Waits for the sums; what has not been handed over early is sent now.
   *
   * @param results What the function returned; tensors of f32, which are given up.
   * @returns The same tree of sums; every process gets the same bits.
   */
  finish<T>(results: T): Promise<T>;
  /** Calls of MPI for the last results, and how many had ended before the last bucket was even computed. */
  readonly trace: { readonly sums: number; readonly overlapped: number };
}

/**
 * Sums over processes that overlap with the computation of what is summed: a bucket of results goes to the other
 * processes as soon as they have been computed (`wasm`: from the memory where they lie; `webgpu`: as soon as they
 * have been read back), while the device computes the others.
 *
 * Source: Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel Training" (2020), section 3.2.
 *
 * @param mpi The processes; all must have compiled the same program for the same kind of device.
 * @param options `operation`: the sum (default) or the mean; `bytes` of a bucket (default 16 MiB).
 * @returns The option for `jit`, and what is to be called around it.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { jit, mul, openDevice, openMpi, type Tensor, tensor } from "../../mod.ts";
 * import { overlappedSums } from "./overlap.ts";
 * await openDevice("wasm");
 * const sums = overlappedSums(openMpi());
 * const f = jit((x: Tensor) => ({ twice: mul(x, 2) }), { early: sums.early });
 * sums.begin();
 * const { twice } = await sums.finish(f(tensor([1, 2])));
 * assertEquals(await twice.toArray(), [2, 4]); // of one process
 * ```
 */
export function overlappedSums(
  mpi: Mpi,
  { operation = "sum", bytes = bucketBytes }: {
    readonly operation?: "sum" | "mean";
    readonly bytes?: number;
  } = {},
): OverlappedSums {
  let takes = false;
  const taken = new Set<unknown>();
  let buckets: Promise<(readonly [Tensor, HostTensor])[]>[] = [];
  let last: Promise<unknown> = Promise.resolve();
  /** Sums begun, and those of them that had ended when the last one began. */
  let sums = 0, overlapped = 0;
  let trace = { sums, overlapped };

  const send = async (tensors: readonly Tensor[], hosts: readonly HostTensor[]) => {
    overlapped = sums - mpi.progress();
    const begun = startSums(mpi, hosts.map(({ elements }) => elements as Float32Array), operation);
    sums += begun.length;
    await Promise.all(begun);
    return tensors.map((x, i) => [x, hosts[i]!] as const);
  };
  const take = (results: readonly Tensor[]) => {
    results.forEach(checkFloat);
    for (const x of results) taken.add(x);
    const found = results.map(inPlace);
    if (found.every((host) => host !== undefined)) {
      buckets.push(send(results, found));
      return;
    }
    // Read back at once, but sent in the order in which all processes send.
    const hosts = Promise.all(results.map(onHost));
    const bucket = last.then(() => hosts).then((hosts) => ({ done: send(results, hosts) }));
    last = bucket;
    buckets.push(bucket.then(({ done }) => done));
  };
  return {
    early: {
      bytes,
      ready(results) {
        if (takes) take(results);
      },
      between: () => void mpi.progress(),
    },
    begin() {
      takes = mpi.size > 1;
      buckets = [];
      taken.clear();
      last = Promise.resolve();
      sums = overlapped = 0;
    },
    async finish<T>(results: T): Promise<T> {
      if (!takes) return results;
      const { leaves, structure } = flatten(results);
      const left = leaves.filter((leaf) => leaf instanceof Tensor && !taken.has(leaf)) as Tensor[];
      await realize(...left);
      if (left.length > 0) take(left);
      takes = false;
      const hosts = new Map<unknown, HostTensor>((await Promise.all(buckets)).flat());
      trace = { sums, overlapped };
      return structure.build(leaves.map((leaf) => hosts.get(leaf)?.changed() ?? leaf)) as T;
    },
    get trace() {
      return trace;
    },
  };
}

/** Begins the sums of arrays in place; small ones are copied together first. */
function startSums(
  mpi: Mpi,
  arrays: readonly Float32Array[],
  operation: "sum" | "mean",
): Promise<void>[] {
  const isSmall = ({ length }: Float32Array) => length < smallElements;
  const small = arrays.filter(isSmall);
  const sums = arrays.filter((array) => !isSmall(array)).map((array) =>
    mpi.startAllreduce(array, operation)
  );
  return small.length > 0 ? [...sums, sumTogether(mpi, small, operation)] : sums;
}

async function sumTogether(
  mpi: Mpi,
  arrays: readonly Float32Array[],
  operation: "sum" | "mean",
): Promise<void> {
  const all = new Float32Array(arrays.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const array of arrays) {
    all.set(array, at);
    at += array.length;
  }
  await mpi.startAllreduce(all, operation);
  at = 0;
  for (const array of arrays) array.set(all.subarray(at, at += array.length));
}

function checkFloat(x: Tensor): void {
  if (x.dtype === "f32") return;
  throw new TypeError(`overlappedSums: expected tensors of f32 but found ${x}`);
}
