/** TensorFlow.js (its wasm backend, one thread: its threads do not start in Deno) as a peer. */
import type { Contestant } from "../harness.ts";
import { sample, wave } from "../inputs.ts";

const name = "tfjs-wasm 4.22.0";
// Specifiers that are not literals: the packages are no dependencies of the project.
const packages = ["npm:@tensorflow/tfjs-core", "npm:@tensorflow/tfjs-backend-wasm"]
  .map((specifier) => `${specifier}@4.22.0`);

// deno-lint-ignore no-explicit-any
type Any = any;
let loaded: Promise<Any> | undefined;

function load(): Promise<Any> {
  return loaded ??= (async () => {
    try {
      const [tf] = await Promise.all(packages.map((specifier) => import(specifier)));
      tf.env().set("WASM_HAS_MULTITHREAD_SUPPORT", false);
      return await tf.setBackend("wasm") ? tf : undefined;
    } catch {
      return undefined;
    }
  })();
}

/** A square matrix product. */
export async function tfjsGemm(size: number): Promise<Contestant | string> {
  const tf = await load();
  if (!tf) return name;
  const a = tf.tensor2d(wave(size * size, 1), [size, size]);
  const b = tf.tensor2d(wave(size * size, 2), [size, size]);
  return {
    name,
    result: async () => {
      const c = tf.matMul(a, b);
      return sample(await c.data());
    },
    run: () => {
      const start = performance.now();
      const c = tf.matMul(a, b);
      const ms = performance.now() - start; // its wasm kernels are synchronous
      c.dispose();
      return ms;
    },
  };
}
