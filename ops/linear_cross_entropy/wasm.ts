/**
 * The cross entropy of a linear layer in WebAssembly: the logits of some rows at a time are a matrix
 * product, which a pass over each row turns into losses or into slopes.
 */
import type { KernelSpec } from "../../lib/op.ts";
import {
  type Expr,
  f32,
  f32x4,
  i32,
  type Local,
  memoryClear,
  type ModuleBuilder,
  v128,
} from "../../lib/backends/wasm/assembler.ts";
import { gemmCalls } from "../../lib/backends/wasm/gemm_calls.ts";
import { at } from "../../lib/backends/wasm/gemm_kernels.ts";
import { exp, log } from "../../lib/backends/wasm/math.ts";
import type { WasmArgument, WasmCall, WasmProgram } from "../../lib/backends/wasm/program.ts";
import { emitOnlineSoftmax } from "../../lib/backends/wasm/row_kernels.ts";

/** The most bytes of logits at a time, and the rows of one chunk of the passes over them. */
const logitsBytes = 2 ** 24;
const rowsPerChunk = 8;

/** Rows of logits start at multiples of 16 bytes. */
const lineOf = (vocabulary: number) => 4 * Math.ceil(vocabulary / 4);

type Place = (which: "input" | "output", index: number, offset: number) => WasmArgument;

/** Runs `each` on blocks of rows, after the calls that compute the logits of the block. */
function byBlocks(
  { inputs }: KernelSpec,
  program: WasmProgram,
  each: (block: {
    first: number;
    rows: number;
    logits: Exclude<WasmArgument, number>;
    place: Place;
  }) => WasmCall[],
): WasmCall[] {
  const [rows, width] = inputs[0]!.shape as [number, number];
  const vocabulary = inputs[1]!.shape[0]!;
  const blocks = Math.ceil(rows * vocabulary * 4 / logitsBytes);
  const blockRows = Math.min(rows, Math.max(64, Math.ceil(rows / blocks)));
  const line = lineOf(vocabulary);
  const logits = program.reserve(4 * blockRows * line);
  const place: Place = (operand, index, offset) => ({ operand, index, offset: 4 * offset });
  const calls: WasmCall[] = [];
  for (let first = 0; first < rows; first += blockRows) {
    const count = Math.min(blockRows, rows - first);
    calls.push(
      ...gemmCalls(program, "logits", {
        ...{ m: count, n: vocabulary, k: width, batch: [1, 1], accumulate: false },
        a: { row: width, column: 1, batch: [0, 0] },
        b: { row: 1, column: width, batch: [0, 0] },
        c: { row: line, batch: [0, 0] },
      }, { a: place("input", 0, first * width), b: place("input", 1, 0), c: logits }),
      ...each({ first, rows: count, logits, place }),
    );
  }
  return calls;
}

/** The address of a row of logits. */
function lineAt(logits: Expr<"i32">, row: Expr<"i32">, vocabulary: Expr<"i32">): Expr<"i32"> {
  return at(logits, row, i32.shl(i32.and(i32.add(vocabulary, 3), -4), 2));
}

/** Declares a kernel that visits rows: those of a chunk, up to the number in argument 0. */
function emitRows(
  m: ModuleBuilder,
  name: string,
  body: (
    f: Parameters<Parameters<ModuleBuilder["func"]>[1]>[0],
    row: Local<"i32">,
    arg: (word: number) => Expr<"i32">,
    scratch: Local<"i32">,
  ) => void,
): string {
  m.func({ params: ["i32", "i32", "i32"], export: name }, (f, args, chunk, scratch) => {
    const arg = (word: number) => i32.load(args, 4 * word);
    const start = f.let(i32.mul(chunk, rowsPerChunk));
    const end = f.let(i32.minU(i32.add(start, rowsPerChunk), arg(0)));
    f.for(start, end, 1, (row) => body(f, row, arg, scratch));
  });
  return name;
}

/** x [R,D], w [V,D], targets [R] → loss [R], logsumexp [R]. */
export function linearCrossEntropyWasm(spec: KernelSpec, program: WasmProgram): WasmCall[] {
  const vocabulary = spec.inputs[1]!.shape[0]!;
  const softmax = program.once("softmax of logits", (m) => emitOnlineSoftmax(m, 1));
  const kernel = program.once(
    "linearCrossEntropyRows",
    (m) =>
      emitRows(m, "linearCrossEntropyRows", (f, row, arg, scratch) => {
        const logits = f.let(lineAt(arg(2), row, arg(1)));
        const target = f.let(i32.load(at(arg(3), row, 4)));
        const chosen = f.let(f32.const(0));
        f.if(i32.ltU(target, arg(1)), () => f.set(chosen, f32.load(at(logits, target, 4))));
        f.store.f32(scratch, -Infinity);
        f.store.f32(scratch, 0, 4);
        f.do(softmax(logits, arg(1), arg(1), scratch));
        const total = log(f, f.let(v128.load32Splat(scratch, 4)));
        const sum = f.let(f32x4.lane(f32x4.add(v128.load32Splat(scratch), total), 0));
        f.store.f32(at(arg(4), row, 4), f32.sub(sum, chosen));
        f.store.f32(at(arg(5), row, 4), sum);
      }),
  );
  return byBlocks(spec, program, ({ first, rows, logits, place }) => [{
    name: "linearCrossEntropy",
    kernel,
    args: [
      ...[rows, vocabulary, logits, place("input", 2, first)],
      ...[place("output", 0, first), place("output", 1, first)],
    ],
    chunks: Math.ceil(rows / rowsPerChunk),
  }]);
}

/** x, w, targets, logsumexp, dloss [R] → dx [R,D], dw [V,D]. */
export function linearCrossEntropyGradientWasm(
  spec: KernelSpec,
  program: WasmProgram,
): WasmCall[] {
  const [rows, width] = spec.inputs[0]!.shape as [number, number];
  const vocabulary = spec.inputs[1]!.shape[0]!;
  const line = lineOf(vocabulary);
  if (rows === 0) return clear(program, vocabulary * width);
  const kernel = program.once("linearCrossEntropySlopes", emitSlopes);
  return byBlocks(spec, program, ({ first, rows, logits, place }) => [
    {
      name: "linearCrossEntropyGradient",
      kernel,
      args: [
        ...[rows, vocabulary, logits],
        ...[2, 3, 4].map((index) => place("input", index, first)),
      ],
      chunks: Math.ceil(rows / rowsPerChunk),
    },
    ...gemmCalls(program, "dx", {
      ...{ m: rows, n: width, k: vocabulary, batch: [1, 1], accumulate: false },
      a: { row: line, column: 1, batch: [0, 0] },
      b: { row: width, column: 1, batch: [0, 0] },
      c: { row: width, batch: [0, 0] },
    }, { a: logits, b: place("input", 1, 0), c: place("output", 0, first * width) }),
    ...gemmCalls(program, "dw", {
      ...{ m: vocabulary, n: width, k: rows, batch: [1, 1], accumulate: first > 0 },
      a: { row: 1, column: line, batch: [0, 0] },
      b: { row: width, column: 1, batch: [0, 0] },
      c: { row: width, batch: [0, 0] },
    }, { a: logits, b: place("input", 0, first * width), c: place("output", 1, 0) }),
  ]);
}

/** Emits `dloss · (exp(logit - logsumexp) - [it is the target])` over the logits. */
function emitSlopes(m: ModuleBuilder): string {
  return emitRows(m, "linearCrossEntropySlopes", (f, row, arg) => {
    const logits = f.let(lineAt(arg(2), row, arg(1)));
    const target = f.let(i32.load(at(arg(3), row, 4)));
    const logsumexp = f.let(v128.load32Splat(at(arg(4), row, 4)));
    const slope = f.let(v128.load32Splat(at(arg(5), row, 4)));
    const scaled = (address: Expr<"i32">) =>
      f32x4.mul(exp(f, f32x4.sub(v128.load(address), logsumexp)), slope);
    f.for(logits, lineAt(logits, i32.const(1), arg(1)), 16, (address) => {
      f.store.v128(address, scaled(address));
    });
    f.if(i32.ltU(target, arg(1)), () => {
      const address = f.let(at(logits, target, 4));
      f.store.f32(address, f32.sub(f32.load(address), f32x4.lane(slope, 0)));
    });
  });
}

/** Without rows, the gradient of the weight is zero. */
function clear(program: WasmProgram, size: number): WasmCall[] {
  const kernel = program.once("clear", (m) => {
    m.func({ params: ["i32", "i32", "i32"], export: "clear" }, (f, args) => {
      f.do(memoryClear(i32.load(args), i32.shl(i32.load(args, 4), 2)));
    });
    return "clear";
  });
  return [{ name: "clear", kernel, args: [{ operand: "output", index: 1 }, size], chunks: 1 }];
}
