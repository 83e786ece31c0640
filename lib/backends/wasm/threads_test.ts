import { assertEquals, assertThrows } from "@std/assert";
import { f32, f32x4, i32, v128, wasmModule } from "./assembler.ts";
import { createMemory } from "./memory.ts";
import { createPool } from "./threads.ts";

/** A kernel that adds 1 to the word of its chunk, with some work in between. */
function countingModule(work: number) {
  const m = wasmModule();
  m.func({ params: ["i32", "i32", "i32"], export: "count" }, (f, base, chunk, scratch) => {
    const word = f.let(i32.add(base, i32.mul(chunk, 4)));
    f.store.i32(scratch, i32.load(word));
    f.for(0, work, 1, (i) => f.store.i32(scratch, i, 4));
    f.store.i32(word, i32.add(i32.load(scratch), 1));
  });
  return m;
}

Deno.test("every chunk runs exactly once, on any number of threads", async () => {
  for (const threads of [1, 2, 5]) {
    const memory = createMemory();
    const pool = createPool(memory, { threads, scratchBytes: 4096 });
    const { count } = pool.load(countingModule(1000)).kernels;
    const out = memory.malloc(4 * 100);
    memory.views().i32.fill(0, out / 4, out / 4 + 100);
    pool.run(count, out, 100);
    await pool.ready;
    assertEquals(pool.running(), threads);
    for (let i = 1; i < 500; i++) pool.run(count, out, i % 2 ? 100 : 1);
    const counts = [...memory.views().i32.subarray(out / 4, out / 4 + 100)];
    assertEquals(counts, counts.map((_, i) => i === 0 ? 500 : 251));
    pool.close();
  }
});

Deno.test("workers learn of modules and memory that come later, and wake from sleep", async () => {
  const memory = createMemory();
  const pool = createPool(memory, { threads: 3, scratchBytes: 4096 });
  await pool.ready;
  const jobs = [1, 10, 20_000].map((work) => pool.load(countingModule(work)).kernels.count);
  const out = memory.malloc(2 ** 23) + 2 ** 23 - 4 * 64;
  memory.views().i32.fill(0, out / 4, out / 4 + 64);
  for (let round = 0; round < 5; round++) {
    for (const job of jobs) pool.run(job, out, 64);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assertEquals(new Set(memory.views().i32.subarray(out / 4, out / 4 + 64)), new Set([15]));
  pool.close();
  pool.run(jobs[0], out, 64);
  assertEquals(memory.views().i32[out / 4 + 63], 16);
});

Deno.test("a trap in any thread is an error, after which the pool still works", async () => {
  const m = wasmModule();
  m.func({ params: ["i32", "i32", "i32"], export: "stray" }, (f, base, chunk) => {
    const isLast = i32.eq(chunk, 7);
    f.if(isLast, () => f.store.f32(i32.const(-64), f32.const(1)));
    f.store.v128(base, f32x4.add(v128.load(base), 0));
  });
  const memory = createMemory();
  const pool = createPool(memory, { threads: 2, scratchBytes: 4096 });
  await pool.ready;
  const { stray } = pool.load(m).kernels;
  const base = memory.malloc(16);
  for (let i = 0; i < 20; i++) {
    assertThrows(() => pool.run(stray, base, 8), Error, "stray: the kernel trapped");
    pool.run(stray, base, 7);
  }
  pool.close();
});
