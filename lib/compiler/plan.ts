/** A compiled program as data: buffers, steps in order, and which memory each buffer uses. */
import type { DType } from "../dtype.ts";
import type { Attributes, KernelRule, KernelSpec, Op, TensorType } from "../op.ts";
import type { Expr } from "./expr.ts";

/** A buffer of a plan; `type.shape` is that of the value that it was planned for. */
export interface PlanBuffer {
  readonly id: number;
  readonly type: TensorType;
  readonly bytes: number;
  /** Names the value in messages: its op, and its label where it has one. */
  readonly label: string;
}

/** A store of one kernel: `buffer[index] = value`. */
export interface LoopStore {
  /** Position in the step's `writes`. */
  readonly slot: number;
  readonly index: Expr;
  readonly value: Expr;
}

/** A reduction over the columns of a loop kernel; its result is `reduced` number `id`. */
export interface LoopReduction {
  readonly id: number;
  readonly reduce: "sum" | "product" | "maximum" | "minimum";
  readonly dtype: DType;
  /** The element to reduce, in terms of row and column variables. */
  readonly value: Expr;
}

/**
 * One pass over the columns of a row. A pass may use the results of reductions of earlier passes.
 */
export interface LoopPass {
  readonly reductions: readonly LoopReduction[];
  /** Stores made for every column. */
  readonly stores: readonly LoopStore[];
}

/**
 * A fused kernel. For every row (a point of `rows`, all independent): the passes in order, each
 * over all columns (the points of `columns`), then `rowStores` once. Without columns there are no
 * passes: that is an elementwise kernel. At every point, all loads happen before any store: a buffer
 * may be overwritten at the very index that was read.
 *
 * The variables: `variable(i)` for i < rows.length runs over rows[i]; `variable(rows.length + j)`
 * runs over columns[j]. Axes of length 1 are left out. A `load` of slot s reads the step's
 * `reads[s]`.
 */
export interface LoopKernel {
  readonly rows: readonly number[];
  readonly columns: readonly number[];
  readonly passes: readonly LoopPass[];
  readonly rowStores: readonly LoopStore[];
}

/** A fused kernel on buffers. A buffer may be read and written in place (same id in both). */
export interface LoopStep {
  readonly kind: "loop";
  /** The ops in it, for dumps: "mul+add+sum". */
  readonly name: string;
  readonly kernel: LoopKernel;
  /** Buffer ids. */
  readonly reads: readonly number[];
  readonly writes: readonly number[];
}

/** A hand-written kernel on buffers. */
export interface KernelStep {
  readonly kind: "kernel";
  readonly name: string;
  readonly op: Op & { readonly run: KernelRule };
  readonly attributes: Attributes;
  readonly spec: KernelSpec;
  /** Buffer ids; with `inPlace`, writes[0] is the same buffer as reads[inPlace]. */
  readonly reads: readonly number[];
  readonly writes: readonly number[];
  readonly scratch: readonly number[];
}

/** Copies a whole buffer (before an in-place kernel whose input is still needed). */
export interface CopyStep {
  readonly kind: "copy";
  readonly name: string;
  readonly reads: readonly [number];
  readonly writes: readonly [number];
}

/** A step of a plan. */
export type Step = LoopStep | KernelStep | CopyStep;

/** A whole program. */
export interface Plan {
  readonly buffers: readonly PlanBuffer[];
  readonly steps: readonly Step[];
  /** Ids of the buffers that the caller passes to `run`: inputs, then outputs that are no input. */
  readonly bound: readonly number[];
  /**
   * Temporaries: every other buffer id and its place. `offset` packs them all into one block of
   * `temporaryBytes` (CPU); `slot` shares whole buffers of `slotBytes` (devices where a kernel may
   * not read and write one buffer).
   */
  readonly temporaries: ReadonlyMap<number, { readonly offset: number; readonly slot: number }>;
  readonly temporaryBytes: number;
  readonly slotBytes: readonly number[];
}
