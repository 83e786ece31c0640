/**
 * Runs benchmarks: every one, or those named.
 *
 *     deno task bench [NAME…] [--device wasm|webgpu] [--json]
 *
 * Each prints a table and writes its rows with the machine to bench/results/NAME.json; with --json
 * every row is one line on standard output instead of the table.
 */
import { parseArgs } from "node:util";
import { currentDevice, type DeviceChoice, openDevice } from "../mod.ts";
import { machine, type Row, table } from "./harness.ts";

/** A benchmark by name: what it measures, and its rows. */
const benches: Record<string, () => Promise<{ rows: () => Promise<Row[]> }>> = {
  gemm: () => import("./gemm.ts"),
  rows: () => import("./rows.ts"),
  step: () => import("./step.ts"),
  demo: () => import("./demo.ts"),
  sampling: () => import("./sampling.ts"),
  scaling: () => import("./scaling.ts"),
  compile: () => import("./compile.ts"),
};

const { values, positionals } = parseArgs({
  args: Deno.args,
  allowPositionals: true,
  options: {
    device: { type: "string", default: "wasm" },
    json: { type: "boolean", default: false },
  },
});
const unknown = positionals.find((name) => !(name in benches));
if (unknown !== undefined) {
  console.error(`bench: expected one of ${Object.keys(benches).join(", ")} but found ${unknown}`);
  Deno.exit(2);
}

const say = values.json ? console.error : console.log;
const device = await openDevice(values.device as DeviceChoice);
say(`${machine()}\n${device.name}: ${device.description}`);
for (const name of positionals.length > 0 ? positionals : Object.keys(benches)) {
  const rows = await (await benches[name]!()).rows();
  if (values.json) { for (const { spread: _, ...row } of rows) console.log(JSON.stringify(row)); }
  else console.log(`\n${table(rows)}`);
  const file = new URL(`./results/${name}_${currentDevice().name}.json`, import.meta.url);
  const report = { machine: machine(), device: currentDevice().description, rows };
  await Deno.writeTextFile(file, JSON.stringify(report, null, 2) + "\n");
}
Deno.exit(0);
