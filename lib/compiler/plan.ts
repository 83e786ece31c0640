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

/**
 * What a kernel does with some columns of its output 0, seen as a matrix whose columns are the last
 * axis: the stores are made at every point of `rows` and `columns`.
 *
 * The variables are those of a `LoopKernel`, `rows` being all rows of the matrix, and `columns` those
 * from `start` on. A `load` of slot 0 reads the matrix itself, always within the row; one of slot s > 0
 * reads the epilogue's `reads[s - 1]`. As in a loop kernel, loads come before stores at every point.
 */
export interface EpiloguePart {
  readonly rows: readonly number[];
  readonly columns: readonly number[];
  readonly start: number;
  /** The slots count the epilogue's own writes. */
  readonly stores: readonly LoopStore[];
  /**
   * How far from its own point it reads the matrix: within the same `span` columns, counted from
   * `start`. 1 if it reads the element at hand only.
   */
  readonly span: number;
}

/** Elementwise work on output 0 that a kernel does as it computes it. */
export interface Epilogue {
  /**
   * Whether output 0 itself is wanted. If not, its buffer may be that of one of the writes, which has
   * every element at the same place: the kernel may use it for its result or leave it alone.
   */
  readonly keeps: boolean;
  readonly parts: readonly EpiloguePart[];
  /** Further operands: `reads[i]` is input number `inputs.length + i` of the kernel, and so on. */
  readonly reads: readonly EpilogueOperand[];
  readonly writes: readonly EpilogueOperand[];
}

/** An operand of an epilogue; equal `buffer`s are the same memory. */
export interface EpilogueOperand {
  readonly buffer: number;
  readonly dtype: DType;
}

/** A hand-written kernel on buffers. */
export interface KernelStep {
  readonly kind: "kernel";
  readonly name: string;
  readonly op: Op & { readonly run: KernelRule };
  readonly attributes: Attributes;
  readonly spec: KernelSpec;
  /**
   * Buffer ids, those of the epilogue last; with `inPlace`, writes[0] is the same buffer as
   * reads[inPlace].
   */
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
