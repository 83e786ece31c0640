import { assert, assertEquals } from "@std/assert";
import { type Expr, type FunctionBuilder, i32, i32x4, v128, wasmModule } from "./assembler.ts";
import { cos, erf, exp, log, pow, sin, tanh, threefry2x32 } from "./math.ts";

type V = Expr<"v128">;

/** Compiles a function of four floats at a time into one of arrays. */
function compile(emit: (f: FunctionBuilder, x: V, y: V) => V) {
  const m = wasmModule();
  m.func({ params: ["i32", "i32"], export: "run" }, (f, count, apart) => {
    f.for(0, i32.shl(count, 2), 16, (at) => {
      const y = v128.load(i32.add(at, apart));
      f.store.v128(i32.add(at, i32.shl(apart, 1)), emit(f, v128.load(at), y));
    });
  });
  const memory = new WebAssembly.Memory({ initial: 64, maximum: 65536, shared: true });
  const module = new WebAssembly.Module(m.bytes());
  const { run } = new WebAssembly.Instance(module, { env: { memory } }).exports;
  const apart = 2 ** 20;
  return (x: ArrayLike<number>, y: ArrayLike<number> = []) => {
    new Float32Array(memory.buffer).set(x);
    new Float32Array(memory.buffer, apart).set(y);
    (run as CallableFunction)(x.length, apart);
    return new Float32Array(memory.buffer, 2 * apart, x.length).slice();
  };
}

/** Numbers in [low, high], both dense near 0 and far from it. */
function samples(low: number, high: number): Float32Array {
  const count = 20_000;
  return Float32Array.from({ length: 2 * count }, (_, i) => {
    const t = (i >> 1) / (count - 1);
    const linear = low + (high - low) * t;
    return i % 2 ? linear : linear * 2 ** (-20 * ((i * 0.618) % 1));
  });
}

/** The largest error, relative to the true value plus `floor`. */
function largestError(
  actual: Float32Array,
  expected: (i: number) => number,
  floor = 0,
): { error: number; index: number } {
  let worst = { error: 0, index: 0 };
  actual.forEach((value, index) => {
    const truth = expected(index);
    const error = Object.is(Math.fround(truth), value)
      ? 0
      : Math.abs(value - truth) / (Math.abs(truth) + floor);
    if (!(error <= worst.error)) worst = { error, index };
  });
  return worst;
}

/** erf by its series, or by the continued fraction of its complement. */
function erfReference(x: number): number {
  const a = Math.abs(x);
  if (a > 3) {
    let fraction = a;
    for (let k = 60; k > 0; k--) fraction = a + k / 2 / fraction;
    return Math.sign(x) * (1 - Math.exp(-a * a) / fraction / Math.sqrt(Math.PI));
  }
  let term = x;
  let sum = x;
  for (let n = 1; n < 80; n++) {
    term *= -x * x / n;
    sum += term / (2 * n + 1);
  }
  return sum * 2 / Math.sqrt(Math.PI);
}

const functions = {
  exp: { emit: exp, truth: Math.exp, low: -86.6, high: 88.7, floor: 0 },
  log: { emit: log, truth: Math.log, low: 1e-30, high: 1e30, floor: 0 },
  logNearOne: { emit: log, truth: Math.log, low: 0.6, high: 1.7, floor: 0 },
  tanh: { emit: tanh, truth: Math.tanh, low: -12, high: 12, floor: 0 },
  erf: { emit: erf, truth: erfReference, low: -5, high: 5, floor: 0 },
  sin: { emit: sin, truth: Math.sin, low: -40, high: 40, floor: 0 },
  cos: { emit: cos, truth: Math.cos, low: -40, high: 40, floor: 1e-3 },
  sinOfLarge: { emit: sin, truth: Math.sin, low: -1e8, high: 1e8, floor: 1 },
  cosOfLarge: { emit: cos, truth: Math.cos, low: -1e8, high: 1e8, floor: 1 },
};

for (const [name, { emit, truth, low, high, floor }] of Object.entries(functions)) {
  Deno.test(`${name} is right to 3e-7`, () => {
    const x = samples(low, high);
    const { error, index } = largestError(compile(emit)(x), (i) => truth(x[i]), floor);
    assert(error <= 3e-7, `${name}(${x[index]}): relative error ${error}`);
  });
}

Deno.test("pow is right to 3e-7", () => {
  const x = samples(0.01, 30);
  const y = samples(-12, 11).reverse();
  const { error, index } = largestError(compile(pow)(x, y), (i) => x[i] ** y[i], 1e-37);
  assert(error <= 3e-7, `${x[index]}^${y[index]}: relative error ${error}`);
});

Deno.test("the functions keep to their limits at special values", () => {
  const { NaN: nan, Infinity: inf } = globalThis as unknown as Record<string, number>;
  const results = (emit: Parameters<typeof compile>[0], x: number[]) => [...compile(emit)(x)];
  assertEquals(
    results(exp, [-inf, inf, nan, 0, -1000, 1000, -1e30, 89]),
    [0, inf, nan, 1, 0, inf, 0, inf],
  );
  assertEquals(results(log, [0, -1, inf, nan, 1, -inf, -0, -1e-40]), [
    ...[-inf, nan, inf, nan, 0, nan, -inf, nan],
  ]);
  const denormal = Math.fround(1e-40);
  assert(Math.abs(results(log, [denormal, 1, 1, 1])[0] - Math.log(denormal)) < 1e-5);
  assertEquals(results(tanh, [-inf, inf, nan, 0, 1e30, -20, 1e-30, 9.5]), [
    ...[-1, 1, nan, 0, 1, -1, Math.fround(1e-30), 1],
  ]);
  assertEquals(results(erf, [-inf, inf, nan, 0, 1e30, -20, 5, 4.5]), [-1, 1, nan, 0, 1, -1, 1, 1]);
  assertEquals(results(sin, [0, inf, -inf, nan]), [0, nan, nan, nan]);
  assertEquals(results(cos, [0, inf, -inf, nan]), [1, nan, nan, nan]);
  const pairs = [
    ...[[0, 0], [0, 2], [0, -2], [-2, 3], [-2, 2], [-2, 0.5], [nan, 0], [nan, 1]],
    ...[[inf, 2], [inf, -1], [-inf, 3], [-inf, 0.5], [2, inf], [0.5, inf], [2, -inf], [1, 5]],
    ...[[2, 128], [2, -140], [-1, 16777215], [3, nan]],
  ];
  const powers = compile(pow)(pairs.map(([x]) => x), pairs.map(([, y]) => y));
  assertEquals([...powers], pairs.map(([x, y]) => Math.fround(x ** y)));
});

Deno.test("threefry2x32 gives the published answers", () => {
  const answers = [
    { key: [0, 0], counter: [0, 0], words: [0x6b200159, 0x99ba4efe] },
    { key: [-1, -1], counter: [-1, -1], words: [0x1cb996fc, 0xbb002be7] },
    {
      key: [0x13198a2e, 0x03707344],
      counter: [0x243f6a88, 0x85a308d3],
      words: [0xc4923a9c, 0x483df7a0],
    },
  ];
  for (const { key, counter, words } of answers) {
    const [k0, k1, c0, c1] = [...key, ...counter].map((x) => i32x4.splat(x));
    const run = (word: 0 | 1) =>
      compile((f) => threefry2x32(f, [k0, k1], [c0, c1])[word])([0, 0, 0, 0]);
    const found = [run(0), run(1)].map((x) => new Uint32Array(x.buffer)[3]);
    assertEquals(found, words);
  }
});
