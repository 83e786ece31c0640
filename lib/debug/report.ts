/** What the levels of `TESSERA_DEBUG` print, on standard error. */
import type { Plan } from "../compiler/plan.ts";
import { recorders } from "./execute.ts";
import { debugLevel } from "./level.ts";
import { kernelRows, showKernels } from "./profile.ts";
import { showPlan } from "./show_plan.ts";

/** The kernels that are shown of a program: those that take longest. */
const shownKernels = 12;

/** Level 1: a jitted function is compiled again. */
export function reportTrace(name: string, reason: string): void {
  if (debugLevel >= 1 && reason !== "first call") say(`${name} is compiled again: ${reason}`);
}

/** Level 3: a program was compiled. */
export function reportPlan(name: string, plan: Plan): void {
  if (debugLevel >= 3) say(`plan of ${name}\n${showPlan(plan)}`);
}

/** Level 4: a shader was generated. */
export function reportShader(name: string, code: string): void {
  if (debugLevel >= 4) say(`shader of ${name}\n${code.trimEnd()}`);
}

if (debugLevel >= 2) {
  recorders.add(async (program, milliseconds) => {
    const times = await milliseconds.catch(() => undefined); // the caller sees the error
    if (!times) return;
    const total = times.reduce((sum, ms) => sum + ms, 0);
    const rows = kernelRows([{ program, times }]).slice(0, shownKernels);
    const head = `${program.name}: ${times.length} steps in ${total.toFixed(3)} ms`;
    say(rows.length === 0 ? head : `${head}\n${showKernels(rows)}`);
  });
}

function say(text: string): void {
  console.error(`tessera: ${text}`);
}
