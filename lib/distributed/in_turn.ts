/** Work on a list by several processes, each of which takes items in turn. */
import type { Mpi } from "./mpi.ts";

/**
 * The results of work on a list, in its order. Processes take the items in turn and then tell each other, so that all
 * have the same results, and the same as one alone.
 *
 * @param items The list, the same in every process.
 * @param work What is done with an item, in one of the processes. Its result consists of plain objects, arrays, typed
 * arrays, numbers and text.
 * @param mpi The processes, all of which call this and read on until the end.
 * @returns The results.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { inTurn } from "./in_turn.ts";
 * import { alone } from "./mpi.ts";
 *
 * const squares = inTurn([1, 2, 3], (x) => Promise.resolve(x * x), alone);
 * assertEquals(await Array.fromAsync(squares), [1, 4, 9]);
 * ```
 */
export async function* inTurn<T, R>(
  items: Iterable<T> | AsyncIterable<T>,
  work: (item: T) => Promise<R>,
  mpi: Mpi,
): AsyncGenerator<R, void, void> {
  if (mpi.size === 1) {
    for await (const item of items) yield await work(item);
    return;
  }
  const { deserialize, serialize } = await import("node:v8");
  const nothing = new Uint8Array();
  const told = (own: Uint8Array) =>
    mpi.gatherBytes(own).filter(({ length }) => length > 0)
      .map((bytes) => deserialize(bytes) as R);
  let own: Uint8Array = nothing, at = 0;
  for await (const item of items) {
    if (at++ % mpi.size === mpi.rank) own = serialize(await work(item));
    if (at % mpi.size !== 0) continue;
    yield* told(own);
    own = nothing;
  }
  if (at % mpi.size !== 0) yield* told(own);
}
