/** `verify`: fixtures of the Fully Masked Transformer against what a device computes. */
import { currentDevice } from "../lib/device.ts";
import type { VerifiedFixture } from "../models/verify.ts";
import { verifyFixtures } from "../models/verify.ts";
import { table } from "./table.ts";
import { exists, UsageError } from "./usage.ts";

/**
 * Prints every comparison of a folder of fixtures.
 *
 * @param folder The folder.
 * @returns Whether all are within their tolerance.
 */
export async function verify(folder: string): Promise<boolean> {
  if (!await exists(folder)) throw new UsageError(`no folder ${folder}`);
  console.log(`Device: ${currentDevice().description}`);
  const fixtures = await verifyFixtures(folder, printFixture).catch((error) => {
    throw error instanceof RangeError ? new UsageError(error.message, { cause: error }) : error;
  });
  const rows = fixtures.flatMap((fixture) => fixture.rows);
  const misses = rows.filter((row) => !row.ok).length;
  console.log(
    `\n${fixtures.length} fixtures, ${rows.length} comparisons, ${misses} out of tolerance`,
  );
  return misses === 0;
}

function printFixture({ name, rows }: VerifiedFixture): void {
  const lines = rows.map(({ name, error, tolerance, ok }) => [
    `  ${name}`,
    error.toExponential(2),
    tolerance.toExponential(2),
    ok ? "" : "MISS",
  ]);
  console.log(`\n${name}\n${table([["  tensor", "error", "tolerance"], ...lines], [1, 2])}`);
}
