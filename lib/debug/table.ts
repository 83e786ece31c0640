/** Tables of plain text. */

/**
 * Rows as a table: texts to the left, numbers to the right.
 *
 * @param head The names of the columns.
 * @param rows The cells; numbers are shown with three significant digits, whole ones in full.
 * @returns The lines of the table.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { showTable } from "./table.ts";
 * const table = showTable(["op", "ms"], [["add", 0.12345], ["matmul", 12]]);
 * assertEquals(table, "op         ms\nadd     0.123\nmatmul     12");
 * ```
 */
export function showTable(
  head: readonly string[],
  rows: readonly (readonly (string | number)[])[],
): string {
  const shown = rows.map((row) => row.map((cell) => typeof cell === "number" ? show(cell) : cell));
  const widths = head.map((name, i) =>
    Math.max(name.length, ...shown.map((row) => row[i]!.length))
  );
  const isNumber = head.map((_, i) => rows.length > 0 && typeof rows[0]![i] === "number");
  return [head, ...shown].map((row) =>
    row.map((cell, i) => isNumber[i] ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!))
      .join("  ").trimEnd()
  ).join("\n");
}

function show(value: number): string {
  if (Number.isInteger(value)) return String(value);
  return Math.abs(value) >= 100 ? value.toFixed(1) : value.toPrecision(3);
}

/** A number of bytes as people read it: `1.50 MB`. */
export function showBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  return `${show(bytes / 1000 ** power)} ${units[power]}`;
}
