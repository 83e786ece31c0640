import { assertSameAsReference, noise, wasmTest } from "../../lib/backends/wasm/testing.ts";
import type { Tensor } from "../../lib/tensor.ts";
import { grad } from "../../lib/transforms/vjp.ts";
import { mul } from "../arithmetic.ts";
import { sum } from "../reduce.ts";
import { linearCrossEntropy } from "./linear_cross_entropy.ts";

wasmTest("losses and gradients equal the reference, in one block of rows or several", async () => {
  // The last has more logits than are computed at a time.
  for (
    const [rows, width, vocabulary] of [[1, 3, 5], [37, 12, 50], [70, 2, 2 ** 16 + 1]] as const
  ) {
    await assertSameAsReference(
      (x, w, targets, weight) => [
        linearCrossEntropy(x!, w!, targets!),
        ...grad(([x, w]: [Tensor, Tensor]) =>
          sum(mul(linearCrossEntropy(x, w, targets!), weight!))
        )([x!, w!]),
      ],
      [
        noise([rows, width], 1),
        noise([vocabulary, width], 2),
        noise([rows], 3, vocabulary),
        noise([rows], 4),
      ],
      1e-5,
      `${rows} ${vocabulary}`,
    );
  }
});
