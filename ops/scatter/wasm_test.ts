import { assertSameAsReference, noise, wasmTest } from "../../lib/backends/wasm/testing.ts";
import { sub } from "../arithmetic.ts";
import { scatterAdd, updateSlice } from "./scatter.ts";

wasmTest("rows are added where they belong, those for places outside nowhere", async () => {
  for (const length of [1, 7, 300]) {
    await assertSameAsReference(
      (base, places, rows, counts, more) => [
        scatterAdd(base!, sub(places!, 1), rows!),
        scatterAdd(counts!, places!, more!),
      ],
      [
        noise([9, length], 1),
        noise([50], 2, 12),
        noise([50, length], 3),
        noise([9, length], 4, 5),
        noise([50, length], 5, 5),
      ],
      1e-5,
    );
  }
});

wasmTest("a slice is replaced along any axis, moved so that it fits", async () => {
  await assertSameAsReference(
    (x, ...updates) =>
      updates.flatMap((update, axis) =>
        [-3, 0, 2, 100].map((start) => updateSlice(x!, update, start, { axis }))
      ),
    [noise([6, 70, 35], 1), noise([2, 70, 35], 2), noise([6, 1, 35], 3), noise([6, 70, 3], 4)],
    0,
  );
});
