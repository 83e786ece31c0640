/**
 * Tessera: a functional tensor DSL with autodiff on WebGPU, and Set AutoRegressive image models
 * declared in it.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { adamw, jit, matmul, mean, normal, openDevice, randomKey, square, sub, valueAndGrad } from "./mod.ts";
 *
 * await openDevice(); // a GPU where there is one, else WebAssembly
 * const x = normal(randomKey(0), [64, 3]);
 * const y = matmul(x, normal(randomKey(1), [3, 1]));
 *
 * let params = { w: normal(randomKey(2), [3, 1]) };
 * let state = adamw.init(params);
 * const loss = (p: typeof params) => mean(square(sub(matmul(x, p.w), y)));
 * const step = jit((p: typeof params, s: typeof state) => {
 *   const [value, gradients] = valueAndGrad(loss)(p);
 *   return [value, ...adamw.update(p, gradients, s, { learningRate: 0.05 })] as const;
 * }, { donate: [0, 1] });
 *
 * for (let i = 0; i < 200; i++) {
 *   const [, p, s] = step(params, state);
 *   [params, state] = [p, s];
 * }
 * assert(await loss(params).item() < 1e-3);
 * ```
 *
 * @module
 */
export * from "./lib/mod.ts";
export * from "./ops/mod.ts";
export * from "./models/mod.ts";
