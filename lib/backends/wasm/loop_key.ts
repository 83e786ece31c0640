/** Which kernels are the same code. */
import { type Expr, walk } from "../../compiler/expr.ts";
import type { LoopKernel } from "../../compiler/plan.ts";

/** A text that two kernels share only if they do the same. */
export function kernelKey({ rows, columns, passes, rowStores }: LoopKernel): string {
  const numbers = new Map<Expr, number>();
  const lines: string[] = [];
  const number = (x: Expr) => {
    walk([x], (node) => {
      if (numbers.has(node)) return;
      if (node.dtype === "f16") {
        throw new TypeError(`wasm: expected f32 but found f16, which it does not have`);
      }
      const value = Object.is(node.value, -0) ? "-0" : node.value;
      const args = node.args.map((arg) => numbers.get(arg));
      numbers.set(node, numbers.size);
      lines.push(`${node.op} ${node.dtype} ${value} ${args}`);
    });
    return numbers.get(x);
  };
  const stores = (list: LoopKernel["rowStores"]) =>
    list.map(({ slot, index, value }) => `${slot} ${number(index)} ${number(value)}`);
  const shown = [
    ...passes.flatMap((pass) => [
      "pass",
      ...pass.reductions.map((r) => `${r.id} ${r.reduce} ${r.dtype} ${number(r.value)}`),
      ...stores(pass.stores),
    ]),
    "row",
    ...stores(rowStores),
  ];
  return [`${rows}/${columns}`, ...lines, ...shown].join(";");
}
