// An extraction by several processes: each encodes some of the images, all put together what all have.
import type { Mpi } from "../../lib/distributed/mpi.ts";
import type { ExtractionJournal } from "./extract_journal.ts";

/** The codes of some images, and what the journal has to say when they are written. */
export interface EncodedBatch extends Pick<ExtractionJournal, "done" | "broken"> {
  codes: Int32Array;
  labels: Int32Array;
  /** The number of each image. */
  indices: Uint32Array;
}

/**
 * Puts the codes of all processes in the order of the images. Every process gets all of them.
 *
 * @param mpi the processes
 * @param own what this one encodes, in order; `done` says up to which image that is all
 * @param brokenBefore the images that were broken before
 * @param total number of all images
 * @returns batches of which each goes on where the one before ended
 */
export async function* inOrder(
  mpi: Mpi,
  own: AsyncGenerator<EncodedBatch>,
  brokenBefore: readonly number[],
  total: number,
): AsyncGenerator<EncodedBatch, void, void> {
  const waiting = new Map<number, { codes: Int32Array; label: number }>();
  const broken = new Set(brokenBefore);
  for (let done = -1; done < total;) {
    const { value } = await own.next();
    const batch = value ?? undefined;
    const said = mpi.gather({
      indices: [...batch?.indices ?? []],
      labels: [...batch?.labels ?? []],
      broken: batch?.broken ?? [],
      done: batch?.done ?? total,
    });
    const bytes = mpi.gatherBytes(bytesOf(batch?.codes ?? new Int32Array()));
    for (const [rank, { indices, labels, broken: found }] of said.entries()) {
      const codes = new Int32Array(bytes[rank]!.slice().buffer);
      const each = codes.length / indices.length;
      for (const [i, index] of indices.entries()) {
        waiting.set(index, { codes: codes.subarray(i * each, (i + 1) * each), label: labels[i]! });
      }
      for (const index of found) broken.add(index);
    }
    done = Math.min(...said.map((one) => one.done));
    const indices = [...waiting.keys()].filter((index) => index < done).sort((a, b) => a - b);
    const ready = indices.map((index) => waiting.get(index)!);
    for (const index of indices) waiting.delete(index);
    yield {
      codes: Int32Array.from(ready.flatMap(({ codes }) => [...codes])),
      labels: Int32Array.from(ready, ({ label }) => label),
      indices: Uint32Array.from(indices),
      done,
      broken: [...broken].filter((index) => index < done).sort((a, b) => a - b),
    };
  }
}

function bytesOf({ buffer, byteOffset, byteLength }: Int32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
