import { assertSameAsReference, noise, wasmTest } from "../../lib/backends/wasm/testing.ts";
import type { Tensor } from "../../lib/tensor.ts";
import { grad } from "../../lib/transforms/vjp.ts";
import { mul } from "../arithmetic.ts";
import { sum } from "../reduce.ts";
import { conv2d, type Conv2dOptions } from "./conv2d.ts";

async function check(
  x: readonly number[],
  w: readonly number[],
  options: Conv2dOptions,
  y: readonly number[],
) {
  await assertSameAsReference(
    (x, w, dy) => [
      conv2d(x!, w!, options),
      ...grad(([x, w]: [Tensor, Tensor]) => sum(mul(conv2d(x, w, options), dy!)))([x!, w!]),
    ],
    [noise(x, 1), noise(w, 2), noise(y, 3)],
    2e-5,
    `${x} ${w} ${JSON.stringify(options)}`,
  );
}

wasmTest("convolutions and gradients of any stride and padding equal the reference", async () => {
  await check([2, 3, 7, 9], [5, 3, 3, 3], { padding: 1 }, [2, 5, 7, 9]);
  await check([2, 3, 7, 9], [5, 3, 3, 3], { padding: 1, stride: 2 }, [2, 5, 4, 5]);
  await check([1, 2, 8, 8], [3, 2, 2, 4], { padding: [0, 1, 2, 0], stride: [2, 3] }, [1, 3, 4, 3]);
  await check([1, 1, 5, 5], [2, 1, 5, 5], { padding: 7 }, [1, 2, 15, 15]);
  await check([3, 4, 6, 6], [7, 4, 1, 1], {}, [3, 7, 6, 6]);
  await check([1, 2, 12, 12], [3, 2, 4, 4], { stride: 4 }, [1, 3, 3, 3]);
  await check([2, 3, 9, 7], [4, 3, 4, 4], { padding: 1, stride: 2 }, [2, 4, 4, 3]);
  await check([2, 2, 9, 11], [3, 2, 1, 2], { padding: [2, 0, 1, 3], stride: [3, 4] }, [2, 3, 4, 4]);
  await check([1, 2, 2, 3], [3, 2, 2, 2], { padding: 3, stride: 5 }, [1, 3, 2, 2]);
  await check([2, 3, 32, 16], [4, 3, 8, 8], { stride: 8 }, [2, 4, 4, 2]);
});

wasmTest("convolutions of many channels and points go by blocks", async () => {
  await check([1, 60, 20, 17], [45, 60, 3, 3], { padding: 1 }, [1, 45, 20, 17]);
  await check([9, 3, 20, 20], [4, 3, 3, 3], {}, [9, 4, 18, 18]);
  await check([1, 150, 34, 34], [3, 150, 4, 4], { padding: 1, stride: 2 }, [1, 3, 17, 17]);
});
