/** Reverse-mode differentiation: a walk over the graph that a function built. */
import { isFloat } from "../dtype.ts";
import { inRegion, type Node, nodeOfTypes, type Region, type Value } from "../graph.ts";
import type { Op } from "../op.ts";
import { sameShape, showShape } from "../shape.ts";
import { bindOne, Tensor } from "../tensor.ts";
import { flatten, treeMap } from "../tree.ts";
import { accumulate as sum, filledLike } from "./accumulate.ts";
import { tracing } from "./trace.ts";

/** Marks a value to differentiate with respect to: the same value under a new name. */
const marker: Op = {
  name: "marker",
  infer: ([x]) => [x!],
  vjp: ({ cotangents }) => [cotangents[0]],
  run: { kind: "alias" },
};

const stop: Op = {
  name: "stopGradient",
  infer: ([x]) => [x!],
  vjp: null,
  run: { kind: "alias" },
};

/** An identity that is computed only after `token`, and never merged with its input. */
const barrier: Op = {
  name: "barrier",
  infer: ([x]) => [x!],
  vjp: ({ cotangents }) => [cotangents[0], undefined],
  run: { kind: "expression", lower: (index, input) => input(0, index), view: (view) => view },
};
let barriers = 0;

/**
 * The same tensors, constant to differentiation.
 *
 * @param tree A tensor or a tree of tensors.
 * @returns A tree of the same values.
 */
export function stopGradient<T>(tree: T): T {
  return treeMap((x: Tensor) => bindOne(stop, [x]), tree);
}

/**
 * A function whose inner values are computed again in the backward pass instead of being kept:
 * less memory, more time ("rematerialization").
 *
 * @param fn Any function of tensors; it may also use tensors from outside.
 * @returns A function of the same arguments and result.
 */
export function checkpoint<Arguments extends unknown[], Result>(
  fn: (...args: Arguments) => Result,
): (...args: Arguments) => Result {
  return (...args) => inRegion(() => fn(...args));
}

/** Nodes between some sources and some results, in order of creation. */
function between(results: readonly Value[], sources: ReadonlySet<Node>): Node[] {
  const active = new Map<Node, boolean>();
  const first = Math.min(...[...sources].map((node) => node.id));
  const order: Node[] = [];
  const stack: { node: Node; ready: boolean }[] = results.map(({ node }) => ({
    node,
    ready: false,
  }));
  while (stack.length > 0) {
    const { node, ready } = stack.pop()!;
    if (ready) {
      const isActive = sources.has(node) || node.inputs.some((input) => active.get(input.node));
      active.set(node, isActive);
      if (isActive) order.push(node);
      continue;
    }
    if (active.has(node)) continue;
    active.set(node, false);
    if (node.id < first) continue;
    stack.push({ node, ready: true });
    for (const input of node.inputs) {
      if (!active.has(input.node)) stack.push({ node: input.node, ready: false });
    }
  }
  return order.sort((a, b) => a.id - b.id);
}

/** Values of checkpointed regions, computed again behind a barrier. */
class Recomputation {
  #copies = new Map<Region, Map<Value, Value>>();

  /** The value as the backward rule of `node` should see it. */
  see(node: Node, value: Value, token: Tensor): Value {
    const region = node.regions[0];
    if (!region) return value;
    let copies = this.#copies.get(region);
    if (!copies) this.#copies.set(region, copies = new Map());
    return this.#copy(value, region, copies, token);
  }

  #copy(value: Value, region: Region, copies: Map<Value, Value>, token: Tensor): Value {
    const known = copies.get(value);
    if (known) return known;
    const { node } = value;
    if (node.regions[0] !== region) {
      if (value.known || !isFloat(value.dtype)) return value;
      const held = new Tensor(value);
      const copy = bindOne(barrier, [held, token], { barrier: barriers++ }).value;
      copies.set(value, copy);
      return copy;
    }
    const inputs = node.inputs.map((input) => this.#copy(input, region, copies, token));
    if (inputs.every((input, i) => input === node.inputs[i])) return value;
    const again = nodeOfTypes(
      node.op,
      inputs,
      node.attributes,
      node.outputs,
      node.regions.slice(1),
    );
    for (const output of node.outputs) copies.set(output, again.outputs[output.index]!);
    return copies.get(value)!;
  }
}

/** The cotangents of some values, given those of some results. */
function pullBack(
  nodes: readonly Node[],
  results: readonly Tensor[],
  seeds: readonly (Tensor | undefined)[],
  sources: readonly Value[],
): (Tensor | undefined)[] {
  const active = new Set(nodes);
  const cotangents = new Map<Value, Tensor>();
  const accumulate = (value: Value, cotangent: Tensor) => {
    const before = cotangents.get(value);
    cotangents.set(value, before ? sum(before, cotangent) : cotangent);
  };
  for (const [i, result] of results.entries()) {
    if (seeds[i]) accumulate(result.value, seeds[i]);
  }
  const recomputation = new Recomputation();
  const isSource = new Set(sources.map((value) => value.node));
  for (const node of [...nodes].reverse()) {
    if (isSource.has(node)) continue;
    const given = node.outputs.map((output) => cotangents.get(output));
    const token = given.find((cotangent) => cotangent !== undefined);
    if (!token || node.op.vjp === null) continue;
    if (!node.op.vjp) {
      throw new TypeError(`${node.op.name}: expected an op with a gradient but found none`);
    }
    const see = (value: Value) => new Tensor(recomputation.see(node, value, token));
    const results = node.op.vjp({
      inputs: node.inputs.map(see),
      outputs: node.outputs.map(see),
      cotangents: given,
      attributes: node.attributes,
    });
    for (const [i, cotangent] of results.entries()) {
      const input = node.inputs[i];
      if (!cotangent || !input || !active.has(input.node) || !isFloat(input.dtype)) continue;
      if (!sameShape(cotangent.shape, input.shape) || cotangent.dtype !== input.dtype) {
        throw new TypeError(
          `${node.op.name}: expected the gradient of input ${i} to be ${input.dtype}${
            showShape(input.shape)
          } but found ${cotangent}`,
        );
      }
      accumulate(input, cotangent);
    }
  }
  return sources.map((value) => cotangents.get(value));
}

/**
 * A function's value and its pullback.
 *
 * @param fn A function of trees of tensors that returns a tree of tensors.
 * @param args Where to evaluate it.
 * @returns `[result, pullback]`; `pullback(cotangent)` takes a tree like the result and returns one
 * tree per argument. Leaves that are not floating-point, or that the result does not depend on,
 * get zeros.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { mul, tensor, vjp, openDevice } from "../../mod.ts";
 * await openDevice("reference");
 * const [y, pullback] = vjp((x) => mul(x, x), tensor([1, 2, 3]));
 * const [dx] = pullback(tensor([1, 1, 1]));
 * assertEquals(await y.toArray(), [1, 4, 9]);
 * assertEquals(await dx!.toArray(), [2, 4, 6]);
 * ```
 */
export function vjp<Arguments extends unknown[], Result>(
  fn: (...args: Arguments) => Result,
  ...args: Arguments
): [Result, (cotangent: Result) => Arguments] {
  const { result, pull, structure, leaves } = differentiate(fn, args);
  const pullback = (cotangent: Result) => {
    const seeds = flatten(cotangent);
    if (seeds.structure.key !== flatten(result).structure.key) {
      throw new TypeError(`vjp: expected a cotangent with the structure of the result`);
    }
    const gradients = tracing(() => pull(seeds.leaves as Tensor[]));
    return structure.build(
      gradients.map((gradient, i) => keep(gradient ?? filledLike(leaves[i] as Tensor, 0))),
    ) as Arguments;
  };
  return [result, pullback];
}

/** The same tensor with a handle that eager evaluation tracks. */
function keep(x: Tensor): Tensor {
  return new Tensor(x.value);
}

function differentiate<Arguments extends unknown[], Result>(
  fn: (...args: Arguments) => Result,
  args: Arguments,
) {
  const { leaves, structure } = flatten(args);
  const { result, marked, nodes } = tracing(() => {
    const marked = leaves.map((leaf) => leaf instanceof Tensor ? bindOne(marker, [leaf]) : leaf);
    const result = fn(...structure.build(marked) as Arguments);
    const sources = new Set(marked.filter((x) => x instanceof Tensor).map((x) => x.value.node));
    const results = flatten(result).leaves.filter((leaf) => leaf instanceof Tensor);
    const nodes = sources.size === 0 ? [] : between(results.map((x) => x.value), sources);
    return { result, marked, nodes };
  });
  const results = flatten(result);
  const sources = marked.map((x) => x instanceof Tensor ? x.value : undefined);
  const pull = (seeds: readonly (Tensor | undefined)[]): (Tensor | undefined)[] => {
    const found = pullBack(
      nodes,
      results.leaves as Tensor[],
      seeds,
      sources.filter((value) => value !== undefined),
    );
    let next = 0;
    return sources.map((value) => value ? found[next++] : undefined);
  };
  const kept = treeMap(
    (leaf: unknown) => leaf instanceof Tensor ? keep(leaf) : leaf,
    result,
  );
  return { result: kept, pull, structure, leaves };
}

/**
 * The gradient of a scalar function with respect to its first argument, with the value.
 *
 * @param fn A function whose result is a scalar tensor, or `[scalar, auxiliary]` with
 * `{ hasAux: true }`.
 * @param options `hasAux`: the result carries a second tree that is passed through undifferentiated.
 * @returns A function of the same arguments that returns `[value, gradient]`, where `value` is what
 * `fn` returned and `gradient` a tree like the first argument.
 * @throws {TypeError} If the result is not a floating-point scalar.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { mul, sum, tensor, valueAndGrad, openDevice } from "../../mod.ts";
 * await openDevice("reference");
 * const [value, gradient] = valueAndGrad((p: { x: ReturnType<typeof tensor> }) =>
 *   sum(mul(p.x, p.x)))({ x: tensor([1, 2]) });
 * assertEquals(await value.item(), 5);
 * assertEquals(await gradient.x.toArray(), [2, 4]);
 * ```
 */
export function valueAndGrad<P, Rest extends unknown[], Result>(
  fn: (params: P, ...rest: Rest) => Result,
  options: { hasAux?: boolean } = {},
): (params: P, ...rest: Rest) => [Result, P] {
  return (params, ...rest) => {
    const { result, pull, structure, leaves } = differentiate(
      (p: P) => fn(p, ...rest),
      [params],
    );
    const value = options.hasAux ? (result as unknown[])[0] : result;
    if (!(value instanceof Tensor) || value.size !== 1 || !isFloat(value.dtype)) {
      throw new TypeError(
        `grad: expected the function to return a floating-point scalar but found ${value}`,
      );
    }
    const gradients = tracing(() => {
      const results = flatten(result).leaves as Tensor[];
      // The value is the first leaf; the auxiliary tree may hold it again.
      return pull(results.map((x, i) => i === 0 ? filledLike(x, 1) : undefined));
    });
    const tree = structure.build(
      leaves.map((leaf, i) =>
        leaf instanceof Tensor ? keep(gradients[i] ?? filledLike(leaf, 0)) : leaf
      ),
    ) as [P];
    return [result, tree[0]];
  };
}

/**
 * The gradient of a scalar function with respect to its first argument.
 *
 * @param fn A function whose result is a floating-point scalar.
 * @returns A function of the same arguments that returns a tree like the first.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { grad, mul, tensor, openDevice } from "../../mod.ts";
 * await openDevice("reference");
 * const cube = (x: ReturnType<typeof tensor>) => mul(mul(x, x), x);
 * assertEquals(await grad(grad(cube))(tensor(2)).item(), 12);
 * ```
 */
export function grad<P, Rest extends unknown[]>(
  fn: (params: P, ...rest: Rest) => Tensor,
): (params: P, ...rest: Rest) => P {
  const both = valueAndGrad(fn);
  return (params, ...rest) => both(params, ...rest)[1];
}

/**
 * A function's value and its derivative along a tangent (forward mode). It is the transpose of the
 * transpose: the pullback is linear in its cotangent, and its own pullback is the derivative.
 *
 * @param fn A function of trees of tensors that returns a tree of tensors.
 * @param args Where to evaluate it.
 * @param tangents One tree per argument, like the arguments.
 * @returns `[result, tangent of the result]`.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { jvp, mul, tensor, openDevice } from "../../mod.ts";
 * await openDevice("reference");
 * const [y, dy] = jvp((x) => mul(x, x), [tensor(3)], [tensor(1)]);
 * assertEquals([await y.item(), await dy.item()], [9, 6]);
 * ```
 */
export function jvp<Arguments extends unknown[], Result>(
  fn: (...args: Arguments) => Result,
  args: Arguments,
  tangents: Arguments,
): [Result, Result] {
  const [result, pullback] = vjp(fn, ...args);
  const zeros = treeMap((leaf: Tensor) => filledLike(leaf, 0), result);
  const [, transpose] = vjp((cotangent: Result) => pullback(cotangent), zeros);
  return [result, transpose(tangents)[0]];
}

/**
 * A function with a gradient of its own.
 *
 * @param fn The function; its own graph is never differentiated.
 * @param backward Given `(args, result, cotangent)`, returns the cotangents of the arguments, one
 * per argument (trees like them; `undefined` for none).
 * @returns A function of the same arguments.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { customVjp, grad, mul, tensor, openDevice } from "../../mod.ts";
 * await openDevice("reference");
 * // An identity that reverses gradients.
 * const reverse = customVjp((x: ReturnType<typeof tensor>) => x, (_args, _y, dy) => [mul(dy, -1)]);
 * assertEquals(await grad(reverse)(tensor(5)).item(), -1);
 * ```
 */
export function customVjp<Arguments extends unknown[], Result>(
  fn: (...args: Arguments) => Result,
  backward: (
    args: Arguments,
    result: Result,
    cotangent: Result,
  ) => readonly unknown[],
): (...args: Arguments) => Result {
  return (...args) => {
    const inputs = flatten(args);
    const inputTensors = inputs.leaves.filter((leaf) => leaf instanceof Tensor);
    const result = fn(...args);
    const outputs = flatten(result);
    const outputTensors = outputs.leaves as Tensor[];
    const op: Op = {
      name: "customVjp",
      infer: (types) => types.slice(0, outputTensors.length),
      vjp: ({ outputs: seen, cotangents }) => {
        const seeds = seen.map((y, i) => cotangents[i] ?? filledLike(y, 0));
        const found = backward(
          args,
          outputs.structure.build(seen) as Result,
          outputs.structure.build(seeds) as Result,
        );
        const leaves = args.flatMap((arg, i) => {
          const own = flatten(arg).leaves;
          return found[i] === undefined ? own.map(() => undefined) : flatten(found[i]).leaves;
        });
        const gradients = leaves.filter((_, i) => inputs.leaves[i] instanceof Tensor);
        return [...outputTensors.map(() => undefined), ...gradients as (Tensor | undefined)[]];
      },
      run: { kind: "alias" },
    };
    const node = nodeOfTypes(
      op,
      [...outputTensors, ...inputTensors].map((x) => x.value),
      {},
      outputTensors.map((x) => x.value),
    );
    return outputs.structure.build(node.outputs.map((value) => new Tensor(value))) as Result;
  };
}
