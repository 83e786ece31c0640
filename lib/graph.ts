/** The lazy graph: nodes, the values they produce, and the device memory that a value may have. */
import type { HostArray } from "./dtype.ts";
import type { Attributes, Op, TensorType } from "./op.ts";
import type { Backend, DeviceBuffer } from "./backends/backend.ts";
import { sizeOf } from "./shape.ts";
import { bytesPerElement } from "./dtype.ts";

/** Part of a graph that the backward pass computes again instead of keeping (see `checkpoint`). */
export interface Region {
  readonly first: number;
}

/** One use of an op. Never changed once made. */
export interface Node {
  /** Grows with creation: inputs have smaller ids. */
  readonly id: number;
  readonly op: Op;
  readonly attributes: Attributes;
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  /** The checkpointed regions it was made in, outermost first. */
  readonly regions: readonly Region[];
}

/** One output of a node, and its elements if they are known. */
export class Value implements TensorType {
  /** The elements on a device. */
  storage: Storage | undefined;
  /** The elements on the host, for a literal. */
  host: HostArray | undefined;
  /** Who holds it: while a handle lives, the value is computed at most once. */
  handle: WeakRef<object> | undefined;

  constructor(
    public node: Node,
    readonly index: number,
    readonly shape: readonly number[],
    readonly dtype: TensorType["dtype"],
  ) {}

  /** Whether the elements are at hand, so that nothing has to be computed. */
  get known(): boolean {
    return this.storage !== undefined || this.host !== undefined;
  }
}

/** Device memory of a value. Freed when unreachable, at the end of a scope, or by `release`. */
export class Storage {
  #released = false;

  constructor(
    readonly backend: Backend,
    readonly buffer: DeviceBuffer,
    purpose: { readonly label: string; readonly type: TensorType },
  ) {
    for (const observe of observers.storages) observe(this, purpose);
    collector.register(this, { backend, buffer }, this);
    scopes.at(-1)?.add(this);
  }

  get released(): boolean {
    return this.#released;
  }

  /** Gives the memory back to the device's pool. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    collector.unregister(this);
    this.backend.release(this.buffer);
  }

  /** Hands the buffer over: this storage no longer owns it (donation). */
  take(): DeviceBuffer {
    this.#released = true;
    collector.unregister(this);
    return this.buffer;
  }
}

const collector = new FinalizationRegistry<{ backend: Backend; buffer: DeviceBuffer }>(
  ({ backend, buffer }) => backend.release(buffer),
);

/** The open `using` scopes, innermost last. */
export const scopes: Set<Storage>[] = [];

/** Debugging tools that are told of every node made, and of all memory with what it is for. */
export const observers = {
  nodes: new Set<(node: Node) => void>(),
  storages: new Set<
    (storage: Storage, purpose: { readonly label: string; readonly type: TensorType }) => void
  >(),
};

let nextId = 0;
const openRegions: Region[] = [];

/** The id that the next node will get. */
export function nextNodeId(): number {
  return nextId;
}

/** Runs `body`; every node that it makes belongs to one region. */
export function inRegion<T>(body: () => T): T {
  openRegions.push({ first: nextId });
  try {
    return body();
  } finally {
    openRegions.pop();
  }
}

/** Makes a node; shapes and types come from the op's rule. */
export function makeNode(op: Op, inputs: readonly Value[], attributes: Attributes = {}): Node {
  const types = op.infer(inputs, attributes);
  return nodeOfTypes(op, inputs, attributes, types, [...openRegions]);
}

/** Makes a node whose output types are already known. */
export function nodeOfTypes(
  op: Op,
  inputs: readonly Value[],
  attributes: Attributes,
  types: readonly TensorType[],
  regions: readonly Region[] = [],
): Node {
  const outputs: Value[] = [];
  const node: Node = { id: nextId++, op, attributes, inputs, outputs, regions };
  for (const [index, type] of types.entries()) {
    outputs.push(new Value(node, index, type.shape, type.dtype));
  }
  for (const observe of observers.nodes) observe(node);
  return node;
}

/** A value that comes from outside the graph: a literal, a parameter, or a result at hand. */
export const source: Op = {
  name: "source",
  infer: () => {
    throw new TypeError("source: expected types to be given");
  },
  vjp: null,
  run: { kind: "source" },
};

/** A new source value of a type. */
export function makeSource(type: TensorType): Value {
  return nodeOfTypes(source, [], {}, [type]).outputs[0]!;
}

/** Bytes of a value on a device. */
export function byteLength(type: TensorType): number {
  return sizeOf(type.shape) * bytesPerElement[type.dtype];
}
