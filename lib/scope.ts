/** Scopes for eager work: device memory made inside is given back at the end. */
import { scopes, type Storage } from "./graph.ts";
import type { Tensor } from "./tensor.ts";

/** An open scope. */
export interface Scope extends Disposable {
  /** Lets tensors outlive the scope; returns the first. */
  keep<T extends Tensor>(...tensors: [T, ...Tensor[]]): T;
}

/**
 * Opens a scope. When it is disposed of, the memory of every tensor computed inside is given back
 * at once, but for those kept. Without scopes, memory is given back when tensors are collected.
 *
 * @returns The scope, to be held by `using`.
 *
 * @example
 * ```ts
 * import { assertRejects } from "@std/assert";
 * import { mul, scope, tensor, openDevice } from "../mod.ts";
 * await openDevice("reference");
 * let y = tensor(0);
 * {
 *   using _ = scope();
 *   y = mul(tensor([1, 2]), 2);
 *   await y.data();
 * }
 * await assertRejects(() => y.data(), Error, "disposed of");
 * ```
 */
export function scope(): Scope {
  const made = new Set<Storage>();
  scopes.push(made);
  return {
    keep(...tensors) {
      for (const { value } of tensors) if (value.storage) made.delete(value.storage);
      return tensors[0];
    },
    [Symbol.dispose]() {
      scopes.splice(scopes.indexOf(made), 1);
      for (const storage of made) storage.release();
    },
  };
}
