import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { openDevice } from "../../lib/device.ts";
import { alone } from "../../lib/distributed/mpi.ts";
import { tensor } from "../../lib/tensor.ts";
import { checkRanks, checkSameBits, ownRange } from "./ranks.ts";

Deno.test("a rank whose weights differ by a bit is found and named", async () => {
  await openDevice("reference");
  const told: unknown[] = [];
  /** Three ranks, of which the others have told theirs before. */
  const mpi = {
    ...alone,
    size: 3,
    gather<T>(value: T): T[] {
      told.push(value);
      return told as T[];
    },
  };
  const x = Float32Array.of(1, 2);
  await checkSameBits(mpi, { x: tensor(x) });
  await checkSameBits(mpi, { x: tensor(x) });
  const other = new Uint32Array(x.slice().buffer);
  other[1]! ^= 1;
  await assertRejects(
    () => checkSameBits(mpi, { x: tensor(new Float32Array(other.buffer)) }),
    Error,
    "expected all ranks to have the same weights but found others on rank 2",
  );
});

Deno.test("a list is cut into parts that leave nothing out", () => {
  for (const count of [0, 1, 7, 12]) {
    for (const size of [1, 3, 5]) {
      const ranges = Array.from({ length: size }, (_, rank) => ownRange({ rank, size }, count));
      assertEquals(ranges[0]![0], 0);
      assertEquals(ranges.at(-1)![1], count);
      ranges.slice(1).forEach(([first], i) => assertEquals(first, ranges[i]![1]));
    }
  }
});

Deno.test("batches are cut for all parts of all ranks, or not at all", () => {
  const of = (batchSize: number, accumulate: number) => ({ batchSize, accumulate });
  const config = { tokenizerTraining: of(12, 1), training: of(12, 2) };
  const check = (size: number) => checkRanks(config as Parameters<typeof checkRanks>[0], size);
  check(1);
  check(3);
  assertThrows(
    () => check(4),
    RangeError,
    "training.batchSize: expected a multiple of 4 ranks × accumulate 2 but found 12",
  );
});
