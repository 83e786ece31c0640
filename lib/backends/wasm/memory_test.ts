import { assert, assertEquals, assertThrows } from "@std/assert";
import { createMemory } from "./memory.ts";

Deno.test("blocks are aligned, do not overlap, and join when they are freed", () => {
  const memory = createMemory();
  const a = memory.malloc(1);
  const b = memory.malloc(65);
  const c = memory.malloc(0);
  assertEquals([a % 64, b - a, c - b], [0, 64, 128]);
  const d = memory.malloc(64);
  memory.free(a);
  memory.free(c);
  memory.free(b);
  assertEquals(memory.malloc(256), a);
  assert(d > a);
  assertEquals(memory.counters().bytesLive, 320);
  assertEquals(memory.counters().allocations, 5);
});

Deno.test("the memory grows on demand and is reused", () => {
  const memory = createMemory();
  const before = memory.views();
  const large = memory.malloc(5_000_000);
  const { f32 } = memory.views();
  assert(f32.byteLength >= large + 5_000_000 && f32.buffer !== before.f32.buffer);
  memory.free(large);
  const { bytesReserved } = memory.counters();
  for (let i = 0; i < 1000; i++) memory.free(memory.malloc(4_000_000 + i));
  assertEquals(memory.counters().bytesReserved, bytesReserved);
  assertEquals(memory.counters().bytesLive, 0);
  assertEquals(memory.counters().bytesPeak, 5_000_000);
});

Deno.test("random allocations never overlap", () => {
  const memory = createMemory();
  const live: { address: number; size: number; tag: number }[] = [];
  let state = 1;
  const random = (n: number) => (state = (state * 48271) % 2147483647) % n;
  for (let tag = 1; tag < 3000; tag++) {
    if (live.length > 40 || (live.length && random(2))) {
      const [block] = live.splice(random(live.length), 1);
      const bytes = memory.views().u8.subarray(block.address, block.address + block.size);
      assert(bytes.every((x) => x === block.tag % 256));
      memory.free(block.address);
    } else {
      const size = 1 + random(5000);
      const address = memory.malloc(size);
      memory.views().u8.fill(tag, address, address + size);
      live.push({ address, size, tag });
    }
  }
  live.forEach(({ address }) => memory.free(address));
  assertEquals(memory.counters().bytesLive, 0);
});

Deno.test("too large a block and a wrong address are errors", () => {
  const memory = createMemory({ maximumBytes: 2 ** 21 });
  assertThrows(() => memory.malloc(2 ** 22), RangeError, "expected room for 4194304 bytes");
  assertThrows(() => memory.malloc(-1), RangeError, "malloc: expected a number of bytes");
  assertThrows(() => memory.free(12), RangeError, "free: expected the address of a block");
  memory.free(memory.malloc(2 ** 20));
});
