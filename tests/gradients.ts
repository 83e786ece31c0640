/** Checks of a scalar function's gradients: finite differences on the reference device, and others against it. */
import { assert } from "@std/assert";
import type { Backend } from "../lib/backends/backend.ts";
import { openDevice, use } from "../lib/device.ts";
import { type Tensor, tensor } from "../lib/tensor.ts";
import { jit } from "../lib/transforms/jit.ts";
import { valueAndGrad } from "../lib/transforms/vjp.ts";
import { treeEntries, treeMap } from "../lib/tree.ts";

/** A value and the gradient of every parameter by its path. */
interface Found {
  readonly value: number;
  readonly gradients: ReadonlyMap<string, ArrayLike<number>>;
}

async function differentiate<P>(fn: (params: P) => Tensor, params: P): Promise<Found> {
  const [value, gradients] = jit((p: P) => valueAndGrad(fn)(p))(params);
  const read = treeEntries<Tensor>(gradients).map(async ([path, x]) =>
    [path, await x.data()] as const
  );
  return { value: await value.item(), gradients: new Map(await Promise.all(read)) };
}

/**
 * Checks value and gradients of a function.
 *
 * @param device The device; on `reference` the gradients are compared with finite differences, along one direction in
 * each parameter, elsewhere with those on `reference`.
 * @param make Makes the parameters.
 * @param fn The function, which makes all other tensors that it needs itself.
 * @param step Of the finite differences.
 */
export async function checkGradients<P>(
  device: Backend,
  make: () => P,
  fn: (params: P) => Tensor,
  step = 1e-3,
): Promise<void> {
  const params = make();
  const found = await differentiate(fn, params);
  if (device.name === "reference") {
    for (const [path, x] of treeEntries<Tensor>(params)) {
      const values = await x.data();
      const direction = Float32Array.from(values, (_, i) => Math.sin(7 * i + 1));
      const moved = async (by: number) => {
        const at = tensor(values.map((value, i) => value + by * direction[i]!), { shape: x.shape });
        return await fn(treeMap((y: Tensor) => y === x ? at : y, params)).item();
      };
      const wanted = (await moved(step) - await moved(-step)) / (2 * step);
      const gradient = found.gradients.get(path)!;
      const along = direction.reduce((sum, d, i) => sum + d * gradient[i]!, 0);
      const scale = direction.reduce((sum, d, i) => sum + Math.abs(d * gradient[i]!), 0);
      assertClose(along, wanted, 1e-2 * scale + 2e-7 * Math.abs(found.value) / step, path);
    }
    return;
  }
  await openDevice("reference");
  const wanted = await differentiate(fn, make());
  use(device);
  assertClose(found.value, wanted.value, 1e-5 * (1 + Math.abs(wanted.value)), "value");
  for (const [path, gradient] of wanted.gradients) {
    const largest = Math.max(...Array.from(gradient, Math.abs));
    for (let i = 0; i < gradient.length; i++) {
      assertClose(
        found.gradients.get(path)![i]!,
        gradient[i]!,
        1e-3 * largest + 1e-7,
        `${path} ${i}`,
      );
    }
  }
}

function assertClose(found: number, wanted: number, tolerance: number, what: string): void {
  const isClose = Math.abs(found - wanted) <= tolerance;
  assert(isClose, `${what}: expected ${wanted} ± ${tolerance} but found ${found}`);
}
