import { assert } from "@std/assert";
import { openDevice, use } from "../../device.ts";
import { tensor } from "../../tensor.ts";
import { jit } from "../../transforms/jit.ts";
import { matmul } from "../../../ops/matmul/matmul.ts";
import { swapAxes } from "../../../ops/transpose.ts";
import { createMemory } from "./memory.ts";
import { openBlas } from "./blas.ts";
import { openWasm } from "./mod.ts";
import { noise } from "./testing.ts";

const found = openBlas(createMemory().memory, 1, "auto") !== undefined;

Deno.test("OpenBLAS can be switched off", () => {
  assert(openBlas(createMemory().memory, 1, "off") === undefined);
});

Deno.test({
  name: "products by OpenBLAS equal those in WebAssembly, for views and batches",
  ignore: !found,
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    const a = noise([2, 80, 600], 1), b = noise([2, 600, 72], 2);
    const product = jit((a: ReturnType<typeof tensor>, b: ReturnType<typeof tensor>) => [
      matmul(a, b),
      matmul(swapAxes(b, 1, 2), swapAxes(a, 1, 2)),
    ]);
    const results = [];
    for (const blas of ["auto", "off"] as const) {
      use(await openWasm({ threads: 2, blas }));
      const operands = [a, b].map(({ data, shape }) => tensor(data, { shape }));
      const [x, y] = product(operands[0]!, operands[1]!);
      results.push(await Promise.all([x!.data(), y!.data()]));
    }
    for (const which of [0, 1]) {
      const [left, right] = [results[0]![which]!, results[1]![which]!];
      let largest = 0;
      for (let i = 0; i < left.length; i++) {
        largest = Math.max(largest, Math.abs(left[i]! - right[i]!));
      }
      assert(largest > 0, "expected the library's rounding, but both ran the same code");
      assert(largest < 1e-4, `largest difference ${largest}`);
    }
    await openDevice("reference");
  },
});
