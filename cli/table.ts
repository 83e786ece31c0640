/** Tables of text. */

/**
 * Lays rows out in columns.
 *
 * @param rows Cells by row.
 * @param right Columns that are aligned to the right.
 * @returns The lines, without trailing spaces.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { table } from "./table.ts";
 *
 * assertEquals(table([["a", "1"], ["bc", "20"]], [1]), "a    1\nbc  20");
 * ```
 */
export function table(rows: readonly (readonly string[])[], right: readonly number[] = []): string {
  const columns = Math.max(0, ...rows.map((row) => row.length));
  const widths = Array.from(
    { length: columns },
    (_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  return rows.map((row) =>
    row.map((cell, column) =>
      right.includes(column) ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)
    ).join("  ").trimEnd()
  ).join("\n");
}
