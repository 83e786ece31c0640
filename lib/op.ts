/**
 * What an op is: one declaration with its shape-and-dtype rule, its gradient and how it runs.
 * The project's own ops and a user's are declared in the same way.
 */
import type { DType } from "./dtype.ts";
import type { Shape } from "./shape.ts";
import type { Expr, ExprBuilder } from "./compiler/expr.ts";
import type { Epilogue } from "./compiler/plan.ts";
import type { Tensor } from "./tensor.ts";
import type { WasmCall, WasmProgram } from "./backends/wasm/program.ts";

/** Shape and type of a value that need not exist yet. */
export interface TensorType {
  readonly shape: Shape;
  readonly dtype: DType;
}

/** Constant settings of one use of an op: plain JSON, part of the key under which code is cached. */
// deno-lint-ignore no-explicit-any
export type Attributes = Readonly<Record<string, any>>;

/** A strided window on a buffer; strides and offset are in elements. */
export interface View extends TensorType {
  readonly strides: readonly number[];
  readonly offset: number;
}

/** The arrays that CPU kernels work on: float64 in the reference backend, 32-bit elsewhere. */
export type KernelArray = Float64Array | Float32Array | Int32Array | Uint32Array;

/** An operand of a CPU kernel: row-major, without gaps. `bool` holds 0 or 1. */
export interface KernelOperand extends TensorType {
  readonly data: KernelArray;
}

/** What a kernel is specialized to. */
export interface KernelSpec {
  readonly attributes: Attributes;
  /** Row-major unless the kernel accepts views. */
  readonly inputs: readonly View[];
  /** Always row-major. */
  readonly outputs: readonly View[];
  /** Only where the rule says `epilogue`: what is to be done with output 0 besides. */
  readonly epilogue?: Epilogue | undefined;
}

/** What a WGSL kernel may use on the device at hand. */
export interface WgslTarget {
  readonly features: {
    readonly f16: boolean;
    /** Subgroup functions; the threads of a workgroup fill one subgroup after the other. */
    readonly subgroups: boolean;
    /** The most threads that a subgroup has here; a power of two. */
    readonly largestSubgroup: number;
  };
  /** A software adapter, where workgroup memory is slow. */
  readonly software: boolean;
  readonly limits: {
    readonly maxComputeInvocationsPerWorkgroup: number;
    readonly maxComputeWorkgroupStorageSize: number;
    readonly maxComputeWorkgroupsPerDimension: number;
  };
  /**
   * Of several ways to compute something, the one that was measured to be the fastest here; the
   * first where nothing was measured yet.
   *
   * @param problem Names all that the speed depends on.
   * @param variants Plain data.
   */
  choose?<Variant>(problem: string, variants: readonly Variant[]): Variant;
}

/** One dispatch of a WGSL compute shader. */
export interface WgslDispatch {
  /** Shown in profiles. */
  readonly name: string;
  /**
   * The module; its entry point is `main`, and `@group(0) @binding(i)` is `bindings[i]`. Storage
   * arrays of `bool` are `array<u32>`.
   */
  readonly code: string;
  readonly bindings: readonly {
    readonly operand: "input" | "output" | "scratch";
    readonly index: number;
    readonly access: "read" | "read_write";
  }[];
  /** Workgroups in x, y, z. */
  readonly workgroups: readonly [number, number, number];
}

/** Runs as a scalar expression that the compiler fuses: elementwise, movement, gathering. */
export interface ExpressionRule {
  readonly kind: "expression";
  /**
   * The element of the output at `index`.
   *
   * @param index One i32 expression per axis of the output.
   * @param input The element of an input at an index (one expression per axis of that input).
   * @param use The builder of expressions, and what the op is used on.
   */
  lower(
    index: readonly Expr[],
    input: (which: number, index: readonly Expr[]) => Expr,
    use: {
      readonly e: ExprBuilder;
      readonly inputs: readonly TensorType[];
      readonly output: TensorType;
      readonly attributes: Attributes;
    },
  ): Expr;
  /** For ops that only move elements of their first input: the same movement on strides. */
  view?(view: View, attributes: Attributes, output: TensorType): View | undefined;
}

/** Reduces the axes `attributes.axes` (sorted, from 0) away; the compiler fuses it. */
export interface ReductionRule {
  readonly kind: "reduction";
  readonly reduce: "sum" | "product" | "maximum" | "minimum";
}

/** Where a kernel in place moves the elements of an input to. */
export interface MoveRule {
  /** The input whose elements are moved; of the others, none as large as output 0 is read. */
  readonly input: number;
  /**
   * The place in output 0 of the element number `at`, both in row-major order.
   *
   * @param load An element of another input, by its place.
   */
  to(
    at: Expr,
    load: (input: number, at: Expr) => Expr,
    use: {
      readonly e: ExprBuilder;
      readonly inputs: readonly TensorType[];
      readonly attributes: Attributes;
    },
  ): Expr;
}

/** Runs as hand-written kernels. */
export interface KernelRule {
  readonly kind: "kernel";
  /** Inputs may be strided views (in `wgsl` and `wasm`; `cpu` always gets row-major arrays). */
  readonly acceptsViews?: boolean;
  /**
   * The backends on which the kernel does elementwise work on output 0 itself (`spec.epilogue`), and
   * what that may read of output 0: so many neighbors that its columns are taken in, or all of its
   * row. A kernel that says nothing is followed by a kernel of its own for that.
   */
  readonly epilogue?: { readonly [backend in "webgpu" | "wasm"]?: number | "row" };
  /** Output 0 takes over the buffer of this input and the kernel updates it in place. */
  readonly inPlace?: number;
  /**
   * For a kernel in place that does nothing but move elements of an input into output 0, which the
   * kernel that makes them may then do in its place.
   */
  readonly moves?: MoveRule;
  /**
   * The plain implementation: the meaning of the op. It runs in float64 in the reference backend,
   * and in the wasm backend where there is no `wasm`. For an in-place op, output 0 already holds
   * the elements of that input.
   */
  cpu(
    inputs: readonly KernelOperand[],
    outputs: readonly KernelOperand[],
    attributes: Attributes,
  ): void;
  /** The WGSL dispatches. */
  wgsl?(spec: KernelSpec, target: WgslTarget): readonly WgslDispatch[];
  /** Adds what it needs to a WebAssembly program and returns the calls. */
  wasm?(spec: KernelSpec, program: WasmProgram): readonly WasmCall[];
  /** Floating-point operations of one run, for profiles; a multiply-add is two. */
  flops?(spec: KernelSpec): number;
  /** Bytes of each temporary buffer that the kernels of a backend want. */
  scratch?(spec: KernelSpec, backend: "webgpu" | "wasm"): readonly number[];
}

/** Only renames its first input (markers of transforms); removed before compilation. */
export interface AliasRule {
  readonly kind: "alias";
}

/** Brings a value in from outside: a host array, a parameter of a program. */
export interface SourceRule {
  readonly kind: "source";
}

/** What a gradient rule is given. */
export interface VjpArguments {
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  /** The cotangent of each output; undefined where the result does not depend on it. */
  readonly cotangents: readonly (Tensor | undefined)[];
  readonly attributes: Attributes;
}

/** The declaration of an op. */
export interface Op {
  readonly name: string;
  /** Shape and type of the outputs. Throws TypeError or RangeError for inputs that do not fit. */
  infer(inputs: readonly TensorType[], attributes: Attributes): readonly TensorType[];
  /**
   * The cotangents of the inputs, written in ops so that they differentiate again; undefined for
   * inputs that get none. An op without a rule is a constant to differentiation if `vjp` is
   * `null`, and an error if it is missing.
   */
  readonly vjp?: ((use: VjpArguments) => readonly (Tensor | undefined)[]) | null;
  readonly run: ExpressionRule | ReductionRule | KernelRule | AliasRule | SourceRule;
}
