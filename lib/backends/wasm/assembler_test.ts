import { assertEquals, assertThrows } from "@std/assert";
import {
  f32,
  f32x4,
  hasRelaxedSimd,
  i32,
  i32x4,
  i64,
  madd,
  type ModuleBuilder,
  select,
  shuffle,
  signedLeb,
  unsignedLeb,
  v128,
  wasmModule,
} from "./assembler.ts";

/** The exports of a module and its memory. */
function instantiate(m: ModuleBuilder) {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 65536, shared: true });
  const module = new WebAssembly.Module(m.bytes());
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  return { memory, exports: exports as Record<string, (...args: number[]) => number> };
}

Deno.test("numbers are encoded in the variable-length form", () => {
  assertEquals(unsignedLeb(0), [0]);
  assertEquals(unsignedLeb(624485), [0xe5, 0x8e, 0x26]);
  assertEquals(unsignedLeb(4294967295), [0xff, 0xff, 0xff, 0xff, 0x0f]);
  assertEquals(signedLeb(-123456n), [0xc0, 0xbb, 0x78]);
  assertEquals(signedLeb(64n), [0xc0, 0x00]);
});

Deno.test("control flow: loops, branches, conditionals, calls", () => {
  const m = wasmModule();
  const square = m.func({ params: ["i32"], result: "i32" }, (_f, x) => i32.mul(x, x));
  m.func({ params: ["i32"], result: "i32", export: "sumOfOddSquares" }, (f, n) => {
    const sum = f.local("i32");
    f.for(0, n, 1, (i) => {
      f.if(i32.and(i, 1), () => f.set(sum, i32.add(sum, square(i))));
    });
    return sum;
  });
  m.func({ params: ["i32"], result: "i32", export: "collatz" }, (f, n) => {
    const steps = f.local("i32");
    f.block((done) =>
      f.loop((again) => {
        f.brIf(i32.eq(n, 1), done);
        f.if(
          i32.and(n, 1),
          () => f.set(n, i32.add(i32.mul(n, 3), 1)),
          () => f.set(n, i32.shrU(n, 1)),
        );
        f.set(steps, i32.add(steps, 1));
        f.br(again);
      })
    );
    return steps;
  });
  m.func({ params: ["i32"], result: "i32", export: "early" }, (f, n) => {
    f.if(i32.gtS(n, 10), () => f.return(i32.const(-1)));
    return select(i32.ltS(n, 0), i32.const(1 << 31), n);
  });
  assertEquals(m.exports, ["sumOfOddSquares", "collatz", "early"]);
  const { exports } = instantiate(m);
  assertEquals(exports.sumOfOddSquares(6), 1 + 9 + 25);
  assertEquals(exports.sumOfOddSquares(0), 0);
  assertEquals(exports.collatz(27), 111);
  assertEquals([11, 5, -5].map((n) => exports.early(n)), [-1, 5, -(2 ** 31)]);
});

Deno.test("vectors: constants, shuffles, lanes, splats, multiply-add", () => {
  const m = wasmModule();
  m.func({ params: ["i32"], export: "run" }, (f, p) => {
    const x = f.let(v128.load(p));
    f.store.v128(p, madd(x, x, 0.5), 16);
    f.store.v128(p, shuffle(x, f32x4.const(5, 6, 7, 8), [3, 7, 0, 4]), 32);
    f.store.v128(p, v128.load32Splat(p, 8), 48);
    f.store.f32(p, f32x4.lane(x, 1), 64);
    f.storeLane(p, x, 3, 68);
    f.store.i32(p, i32x4.lane(i32x4.truncF32x4S(f32x4.mul(x, -3)), 3), 72);
    f.store.i8(p, i32x4.bitmask(f32x4.gt(x, 1.5)), 76);
    f.do(i64.add(i64.extendS(p), 1));
  });
  const { exports, memory } = instantiate(m);
  const floats = new Float32Array(memory.buffer);
  floats.set([1, 2, 3, 4]);
  exports.run(0);
  assertEquals([...floats.slice(4, 18)], [1.5, 4.5, 9.5, 16.5, 4, 8, 1, 5, 3, 3, 3, 3, 2, 4]);
  assertEquals(new Int32Array(memory.buffer)[18], -12);
  assertEquals(new Uint8Array(memory.buffer)[76], 0b1110);
});

Deno.test("an operand of another type is an error, and the host's features are found", () => {
  assertThrows(
    () => f32.add(i32.const(1) as never, 2),
    TypeError,
    "assembler: expected an expression of type f32 but found i32",
  );
  assertEquals(typeof hasRelaxedSimd, "boolean");
});

Deno.test("functions of the host are called by name, and keep the module's own apart", () => {
  const m = wasmModule({ first: ["i32"], second: ["i32", "i32"] });
  const twice = m.func({ params: ["i32"], result: "i32" }, (_, x) => i32.mul(x, 2));
  m.func({ params: ["i32"], export: "run" }, (f, x) => {
    f.do(m.imports.second!(twice(x), 5));
    f.do(m.imports.first!(x));
  });
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 65536, shared: true });
  const called: number[][] = [];
  const first = (...x: number[]) => void called.push([1, ...x]);
  const second = (...x: number[]) => void called.push([2, ...x]);
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(m.bytes()), {
    env: { memory, first, second },
  });
  (exports.run as (x: number) => void)(7);
  assertEquals(called, [[2, 14, 5], [1, 7]]);
});
