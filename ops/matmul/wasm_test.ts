import { assertSameAsReference, noise, wasmTest } from "../../lib/backends/wasm/testing.ts";
import { broadcastTo } from "../broadcast.ts";
import { flip, slice } from "../slice.ts";
import { swapAxes, transpose } from "../transpose.ts";
import { matmul } from "./matmul.ts";

wasmTest("products of views equal the reference", async () => {
  for (const [m, n, k] of [[1, 1, 1], [3, 40, 17], [65, 70, 33], [130, 24, 260]] as const) {
    const [a, b] = [noise([m, k], 1), noise([k, n], 2)];
    const [at, bt] = [noise([k, m], 3), noise([n, k], 4)];
    await assertSameAsReference(
      (a, b, at, bt) => [
        matmul(a!, b!),
        matmul(transpose(at!), b!),
        matmul(a!, transpose(bt!)),
        matmul(transpose(at!), transpose(bt!)),
        matmul(flip(a!, 0), flip(b!, 1)),
        matmul(flip(a!, 1), b!),
      ],
      [a, b, at, bt],
      1e-6 * k + 1e-6,
      `${m}×${n}×${k}`,
    );
  }
});

wasmTest("products over batches of any strides equal the reference", async () => {
  const x = noise([2, 3, 4, 5, 6], 1), y = noise([2, 3, 4, 6, 7], 2);
  await assertSameAsReference(
    (x, y) => [
      matmul(x!, y!),
      matmul(swapAxes(x!, 0, 2), swapAxes(y!, 0, 2)),
      matmul(broadcastTo(slice(x!, [[0, 1]]), x!.shape), swapAxes(x!, 3, 4)),
    ],
    [x, y],
    1e-5,
  );
  await assertSameAsReference(
    (q, k) => [matmul(transpose(q!, [0, 2, 1, 3]), transpose(k!, [0, 2, 3, 1]))],
    [noise([2, 9, 3, 8], 3), noise([2, 11, 3, 8], 4)],
    1e-5,
  );
});
