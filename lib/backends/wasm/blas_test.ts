import { assert, assertEquals } from "@std/assert";
import { openDevice, use } from "../../device.ts";
import { type Tensor, tensor } from "../../tensor.ts";
import { jit } from "../../transforms/jit.ts";
import { add } from "../../../ops/arithmetic.ts";
import { gelu } from "../../../ops/activations.ts";
import { softmax } from "../../../ops/softmax.ts";
import { matmul } from "../../../ops/matmul/matmul.ts";
import { swapAxes } from "../../../ops/transpose.ts";
import { wasmModule } from "./assembler.ts";
import { type Blas, blasImports, openBlas } from "./blas.ts";
import { emitGemm, type GemmShape, gemmWord, gemmWords, planGemm } from "./gemm.ts";
import { createMemory } from "./memory.ts";
import { openWasm } from "./mod.ts";
import { noise } from "./testing.ts";
import { createPool } from "./threads.ts";

const environment = Deno.env.toObject();
const found = openBlas(createMemory().memory, "auto") !== undefined;
const withLibrary = { ignore: !found, sanitizeOps: false, sanitizeResources: false };
const isClose = (left: ArrayLike<number>, right: ArrayLike<number>) =>
  Array.from(left).every((x, i) => Math.abs(x - right[i]!) < 1e-4);

Deno.test("OpenBLAS can be switched off", () => {
  assert(openBlas(createMemory().memory, "off") === undefined);
});

Deno.test("OpenBLAS is not used where FFI or the library is missing", async () => {
  const script = `import { openWasm } from ${JSON.stringify(import.meta.resolve("./mod.ts"))};
    const device = await openWasm({ threads: 1 });
    console.log(device.description);
    device.close();`;
  for (const flags of [["--no-prompt"], ["--no-prompt", "--allow-ffi"]]) {
    const file = await Deno.makeTempFile({ suffix: ".ts" });
    await Deno.writeTextFile(file, script);
    const { stdout, success } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-check", ...flags, file],
      env: { NO_COLOR: "1" },
    }).output();
    await Deno.remove(file);
    const wanted = found && flags.length > 1 ? ", large products by OpenBLAS" : "";
    assert(success);
    assertEquals(
      new TextDecoder().decode(stdout),
      `WebAssembly with 1 thread${wanted}\n`,
    );
  }
});

Deno.test({
  name: "the library's settings are not left in the environment",
  ...withLibrary,
  fn() {
    openBlas(createMemory().memory, "auto");
    assertEquals(Deno.env.toObject(), environment);
  },
});

/** Products of one memory by the library and in WebAssembly. */
function setUp(threads: number) {
  const memory = createMemory();
  const blas: Blas = openBlas(memory.memory, "auto")!;
  const pool = createPool(memory, { threads, blas });
  const module = wasmModule(blasImports);
  emitGemm(module);
  const { kernels } = pool.load(module);
  const place = (data: Float32Array) => {
    const address = memory.malloc(4 * data.length);
    memory.views().f32.set(data, address / 4);
    return address;
  };
  const product = (
    shape: GemmShape,
    operands: readonly [number, number],
    before: Float32Array,
    blas: boolean,
  ) => {
    const plan = planGemm(shape, { threads, scratchBytes: pool.scratchBytes, blas });
    const c = place(before);
    const workspace = memory.malloc(plan.workspaceBytes);
    const args = memory.malloc(4 * gemmWords);
    memory.views().i32.set(plan.words, args / 4);
    memory.views().i32.set([...operands, c, workspace], args / 4 + gemmWord.a);
    for (const { kernel, chunks } of plan.jobs) pool.run(kernels[kernel]!, args, chunks);
    const result = memory.views().f32.slice(c / 4, c / 4 + before.length);
    [c, workspace, args].forEach(memory.free);
    return { result, kernels: plan.jobs.map(({ kernel }) => kernel).join() };
  };
  return { memory, pool, place, product };
}

for (const threads of [1, 2]) {
  Deno.test({
    name: `products by OpenBLAS on ${threads} threads equal those in WebAssembly`,
    ...withLibrary,
    async fn() {
      const { memory, pool, place, product } = setUp(threads);
      await pool.ready;
      const sizes = [[64, 64, 64], [100, 90, 70], [33, 300, 129], [500, 16, 40], [16, 1000, 64]];
      sizes.push([420, 410, 400]); // of which batches of one are a single call
      for (const [m, n, k] of sizes as [number, number, number][]) {
        for (const [columnsOfA, columnsOfB] of [[0, 0], [0, 1], [1, 0], [1, 1]]) {
          for (const batch of [[1, 1], [2, 3]] as [number, number][]) {
            // Rows, or columns, that are a little apart.
            const a = columnsOfA ? { row: 1, column: m + 3 } : { row: k + 5, column: 1 };
            const b = columnsOfB ? { row: 1, column: k + 2 } : { row: n, column: 1 };
            const sizeA = (m + 3) * (k + 5), sizeB = (k + 2) * (n + 2), sizeC = m * (n + 4);
            const shape: GemmShape = {
              ...{ m, n, k, batch, accumulate: columnsOfA === columnsOfB },
              a: { ...a, batch: [batch[1] * sizeA, sizeA] },
              b: { ...b, batch: [0, sizeB] },
              c: { row: n + 4, batch: [batch[1] * sizeC, sizeC] },
            };
            const count = batch[0] * batch[1];
            const operands = [noise([count * sizeA], 1), noise([batch[1] * sizeB], 2)]
              .map(({ data }) => place(data as Float32Array)) as [number, number];
            const before = noise([count * sizeC], 3).data as Float32Array;
            const library = product(shape, operands, before, true);
            const own = product(shape, operands, before, false);
            const at = JSON.stringify(shape);
            assertEquals(library.kernels, "gemmBlas", at);
            assert(own.kernels !== "gemmBlas");
            assert(isClose(library.result, own.result), at);
            operands.forEach(memory.free);
          }
        }
      }
      pool.close();
    },
  });
}

Deno.test({
  name: "threads may call OpenBLAS at once, again and again",
  ...withLibrary,
  async fn() {
    const { pool, place, product } = setUp(4);
    await pool.ready;
    const [m, n, k] = [96, 80, 72];
    const batch: [number, number] = [1, 16];
    const shape: GemmShape = {
      ...{ m, n, k, batch, accumulate: false },
      a: { row: k, column: 1, batch: [0, m * k] },
      b: { row: n, column: 1, batch: [0, k * n] },
      c: { row: n, batch: [0, m * n] },
    };
    const operands = [noise([16 * m * k], 1), noise([16 * k * n], 2)]
      .map(({ data }) => place(data as Float32Array)) as [number, number];
    const before = new Float32Array(16 * m * n);
    const expected = product(shape, operands, before, false).result;
    const first = product(shape, operands, before, true).result;
    assert(isClose(first, expected));
    for (let i = 0; i < 100; i++) {
      const { result } = product(shape, operands, before, true);
      assert(result.every((x, j) => x === first[j]), `run ${i} differs`);
    }
    pool.close();
  },
});

Deno.test({
  name: "products of views and batches by OpenBLAS with epilogues equal those in WebAssembly",
  ...withLibrary,
  async fn() {
    const a = noise([2, 80, 600], 1), b = noise([2, 600, 72], 2), c = noise([72], 3);
    const product = jit((a: Tensor, b: Tensor, c: Tensor) => {
      const inner = add(matmul(a, b), c);
      const turned = matmul(swapAxes(b, 1, 2), swapAxes(a, 1, 2));
      return [inner, add(gelu(inner), inner), turned, add(softmax(turned), turned)];
    });
    const results = [];
    for (const blas of ["auto", "off"] as const) {
      use(await openWasm({ threads: 2, blas }));
      const operands = [a, b, c].map(({ data, shape }) => tensor(data, { shape }));
      const outputs = product(operands[0]!, operands[1]!, operands[2]!);
      results.push(await Promise.all(outputs.map((x) => x.data())));
    }
    for (const which of results[0]!.keys()) {
      const [left, right] = [results[0]![which]!, results[1]![which]!];
      assert(isClose(left, right));
      const isSame = (left as Float32Array).every((x, i) => x === right[i]);
      assert(!isSame, "expected the library's rounding, but both ran the same code");
    }
    await openDevice("reference");
  },
});
