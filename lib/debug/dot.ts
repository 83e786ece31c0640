/** Graphs in Graphviz's language. */

/** Something that flows from box to box, and the text for it where it comes from outside. */
export interface DotValue {
  readonly key: string | number;
  readonly label: string;
}

/** A drawing that grows. */
export interface DotDrawing {
  /** A box that reads values and writes others, which may be the same. */
  box(label: string, reads: readonly DotValue[], writes: readonly DotValue[]): void;
  /** An ellipse that shows what a value is at the end. */
  end(value: DotValue): void;
  /** The text of a `.dot` file. */
  text(): string;
}

/**
 * Begins a drawing.
 *
 * @param name Its name, one word.
 * @returns The drawing.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { drawDot } from "./dot.ts";
 *
 * const drawing = drawDot("graph");
 * drawing.box("exp", [{ key: "x", label: "x" }], [{ key: "y", label: "y" }]);
 * drawing.end({ key: "y", label: "result" });
 * assertEquals(drawing.text().match(/n\d+ -> n\d+/g), ["n0 -> n1", "n1 -> n2"]);
 * ```
 */
export function drawDot(name: string): DotDrawing {
  const lines: string[] = [];
  const madeBy = new Map<string | number, string>();
  let count = 0;
  const node = (label: string, shape: "box" | "ellipse") => {
    const id = `n${count++}`;
    const text = label.replaceAll(/["\\]/g, "\\$&").replaceAll("\n", "\\n");
    lines.push(`  ${id} [label="${text}", shape=${shape}];`);
    return id;
  };
  const origin = ({ key, label }: DotValue) => {
    if (!madeBy.has(key)) madeBy.set(key, node(label, "ellipse"));
    return madeBy.get(key)!;
  };
  return {
    box(label, reads, writes) {
      const from = new Set(reads.map(origin));
      const id = node(label, "box");
      for (const source of from) lines.push(`  ${source} -> ${id};`);
      for (const { key } of writes) madeBy.set(key, id);
    },
    end(value) {
      const from = origin(value);
      lines.push(`  ${from} -> ${node(value.label, "ellipse")};`);
    },
    text: () =>
      [`digraph ${name} {`, '  node [fontname="monospace"];', ...lines, "}", ""].join("\n"),
  };
}
