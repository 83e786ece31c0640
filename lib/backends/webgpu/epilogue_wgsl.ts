/** Elementwise work that a kernel does on its result as it stores it, as WGSL functions. */
import type { KernelSpec } from "../../op.ts";
import type { EpiloguePart } from "../../compiler/plan.ts";
import { ExprBuilder } from "../../compiler/expr.ts";
import { rewriter } from "../../compiler/rewrite.ts";
import { sizeOf } from "../../shape.ts";
import { ExpressionWriter } from "./expression_wgsl.ts";
import { type NamedBinding, repeat } from "./kernel_wgsl.ts";
import { functionsFor } from "./scalar_wgsl.ts";

/** An epilogue in a shader. */
export interface EpilogueWgsl {
  /** What it reads and writes besides output 0. */
  readonly bindings: readonly NamedBinding[];
  /** Module-scope functions. */
  readonly functions: string;
  /** Whether output 0 itself must be stored, too; if not, it must not be bound. */
  readonly keeps: boolean;
  /** Whether it looks at neighbors, so that it takes four columns at a time only. */
  readonly inVectors: boolean;
  /**
   * The statement for a value of output 0's type in some row and column of it, all axes but the last
   * being rows; with `vector`, for the four from a column on that is a multiple of 4.
   */
  store(row: string, column: string, value: string, vector: boolean): string;
}

/** The epilogue that a kernel's spec asks for. */
export function epilogueWgsl({ inputs, outputs, epilogue }: KernelSpec): EpilogueWgsl | undefined {
  if (!epilogue) return undefined;
  const { parts, reads, writes, keeps } = epilogue;
  const [matrix] = outputs, width = matrix!.shape.at(-1) ?? 1;
  const names = new Map<number, string>();
  const bindings: NamedBinding[] = [];
  const bind = (
    operand: "input" | "output",
    index: number,
    { buffer, dtype }: typeof reads[number],
  ): string => {
    let name = names.get(buffer);
    if (name) return name;
    names.set(buffer, name = `extra${names.size}`);
    const access = operand === "output" ? "read_write" : "read";
    bindings.push({ name, operand, index, access, dtype });
    return name;
  };
  const written = writes.map((write, i) => bind("output", outputs.length + i, write));
  const read = reads.map((read, i) => bind("input", inputs.length + i, read));

  const partFunction = ({ rows, columns, stores }: EpiloguePart, number: number): string => {
    // The row is at hand as four neighboring values; alone, a value stands for all four.
    const e = new ExprBuilder();
    const rewrite = rewriter(e, {
      variable: (index, length) => e.variable(index, length),
      index: (slot, index) => slot === 0 ? e.apply("modulo", index, e.int(4)) : index,
    });
    const pass = {
      reductions: [],
      stores: stores.map(({ slot, index, value }) => ({
        slot,
        index: rewrite(index),
        value: rewrite(value),
      })),
    };
    const kernel = { rows, columns, passes: [pass], rowStores: [] };
    const writer = new ExpressionWriter(kernel, [matrix!, ...reads], ["values", ...read]);
    writer.openColumns();
    const lines = pass.stores.map(({ slot, index, value }) => {
      const text = writer.writeNamed(value);
      const stored = writes[slot]!.dtype === "bool" ? `u32(${text})` : text;
      return `${written[slot]}[${writer.write(index)}] = ${stored};`;
    });
    const inColumns = writer.closeColumns();
    const body = [...writer.takeRowLines(), ...inColumns, ...lines].map((line) => `  ${line}\n`);
    return `fn epilogue${number}(row: i32, column: i32, values: vec4<${matrix!.dtype}>) {
${body.join("")}}
`;
  };
  /** Calls of a part for some of the columns from `column` on. */
  const calls = ({ columns, start }: EpiloguePart, number: number, count: 1 | 4): string => {
    const end = start + sizeOf(columns);
    const call = (c: number) => `epilogue${number}(row, column + ${c - start}, values);`;
    const within = (from: number, to: number) => {
      const conditions = [
        ...(start > 0 ? [`column >= ${start - from}`] : []),
        ...(end < width ? [`column < ${end - to}`] : []),
      ];
      return conditions.length > 0 ? `if (${conditions.join(" && ")}) ` : "";
    };
    const whole = start % count === 0 && end % count === 0;
    if (whole) return `  ${within(0, 0)}{ ${repeat(count, call, " ")} }`;
    return repeat(count, (c) => `  ${within(c, c)}{ ${call(c)} }`);
  };
  const finish = (name: string, count: 1 | 4) =>
    `fn ${name}(row: i32, column: i32, values: vec4<${matrix!.dtype}>) {
${parts.map((part, number) => calls(part, number, count)).join("\n")}
}
`;
  const text = parts.map(partFunction).join("") + finish("finish_one", 1) +
    (width % 4 === 0 ? finish("finish_four", 4) : "");
  return {
    bindings,
    functions: functionsFor(text) + text,
    keeps,
    inVectors: parts.some(({ span }) => span > 1),
    store: (row, column, value, vector) =>
      vector
        ? `finish_four(${row}, ${column}, ${value});`
        : `finish_one(${row}, ${column}, vec4<${matrix!.dtype}>(${value}));`,
  };
}
