/**
 * Runs benchmarks: every one, or those named.
 *
 *     deno task bench [NAME…] [--device wasm|wasm+256bit|wasm+openblas|webgpu] [--json] [--smoke]
 *
 * Without a device, they run on wasm; those that are mostly products run on wasm+256bit (V8 with its flags
 * for vectors of 256 bits) and wasm+openblas too, and `gpu` on webgpu. Each prints a table and writes its rows with the machine to bench/results/NAME_DEVICE.json;
 * with --json every row is one line on standard output instead of the table. With --smoke, those that have
 * tiny sizes (`gpu`) run on these, on a software adapter too, to see that they run; nothing is written.
 */
import { parseArgs } from "node:util";
import { currentDevice, type DeviceChoice, openDevice } from "../mod.ts";
import { deviceName, machine, type Row, table } from "./harness.ts";

type Bench = () => Promise<{ rows: (options: { smoke: boolean }) => Promise<Row[]> }>;

/** The benchmarks by name. */
const benches: Record<string, Bench> = {
  gemm: () => import("./gemm.ts"),
  rows: () => import("./rows.ts"),
  step: () => import("./step.ts"),
  demo: () => import("./demo.ts"),
  sampling: () => import("./sampling.ts"),
  scaling: () => import("./scaling.ts"),
  compile: () => import("./compile.ts"),
  gpu: () => import("./gpu.ts"),
};

/** The flags of V8 that devices need; a process gets them when it starts. */
const flags: Record<string, string> = {
  "wasm+256bit": "--no-wasm-bounds-checks,--experimental-wasm-revectorize",
};

/** Where benchmarks run if no device is named. */
const defaults: Record<string, readonly string[]> = {
  "wasm": Object.keys(benches).filter((name) => name !== "gpu"),
  "wasm+256bit": ["gemm", "rows", "step", "demo"],
  "wasm+openblas": ["gemm", "step", "demo"],
  "webgpu": ["gpu"],
};

const { values, positionals } = parseArgs({
  args: Deno.args,
  allowPositionals: true,
  options: {
    device: { type: "string" },
    json: { type: "boolean", default: false },
    smoke: { type: "boolean", default: false },
  },
});
refuseUnknown("one", Object.keys(benches), positionals);
refuseUnknown(
  "a device",
  Object.keys(defaults),
  values.device === undefined ? [] : [values.device],
);
const names = positionals.length > 0 ? positionals : Object.keys(benches);
const given = Deno.env.get("DENO_V8_FLAGS") ?? "";
if (values.device && given.includes(flags[values.device] ?? "")) {
  await runHere(values.device, names);
} else if (values.device) await runApart(values.device, names);
else {
  for (const [device, usual] of Object.entries(defaults)) {
    await runApart(device, names.filter((name) => usual.includes(name)));
  }
}
Deno.exit(0);

function refuseUnknown(what: string, known: readonly string[], given: readonly string[]): void {
  const unknown = given.find((name) => !known.includes(name));
  if (unknown === undefined) return;
  console.error(`bench: expected ${what} of ${known.join(", ")} but found ${unknown}`);
  Deno.exit(2);
}

/** Runs benchmarks in a process of their own, so that devices do not share threads or memory. */
async function runApart(device: string, names: readonly string[]): Promise<void> {
  if (names.length === 0) return;
  const asked = (["json", "smoke"] as const).filter((name) => values[name]).map((name) =>
    `--${name}`
  );
  const args = ["run", "-A", import.meta.filename!, ...names, "--device", device, ...asked];
  const env: Record<string, string> = flags[device] ? { DENO_V8_FLAGS: flags[device] } : {};
  const { code } = await new Deno.Command(Deno.execPath(), { args, env }).spawn().status;
  if (code !== 0) Deno.exit(code);
}

async function runHere(choice: string, names: readonly string[]): Promise<void> {
  const say = values.json ? console.error : console.log;
  const found = await open(choice);
  say(`${machine()}\n${choice}: ${found ? currentDevice().description : "none at hand"}`);
  for (const name of names) {
    if (!found && name !== "gpu") continue; // which says what it would measure
    const rows = await (await benches[name]!()).rows({ smoke: values.smoke });
    if (values.json) {
      for (const { spread: _, ...row } of rows) console.log(JSON.stringify(row));
    } else console.log(`\n${table(rows)}`);
    if (values.smoke) continue;
    const folder = new URL("./results/", import.meta.url);
    await Deno.mkdir(folder, { recursive: true });
    const report = { machine: machine(), device: currentDevice().description, rows };
    await Deno.writeTextFile(
      new URL(`${name}_${choice}.json`, folder),
      JSON.stringify(report, null, 2) + "\n",
    );
  }
}

/** Opens a device by the name that rows give it; false if there is none. */
async function open(choice: string): Promise<boolean> {
  const [device, variant] = choice.split("+");
  Deno.env.set("TESSERA_BLAS", variant === "openblas" ? "auto" : "off");
  try {
    await openDevice(device as DeviceChoice);
  } catch {
    await openDevice("reference");
  }
  return deviceName() === choice;
}
