/** Tools to see what programs do: times, plans, memory, shapes, and where numbers go bad. */
export { type Cost, planCost } from "./cost.ts";
export { debugLevel } from "./level.ts";
export { type KernelRow, profile, showKernels } from "./profile.ts";
export { planToDot, showPlan } from "./show_plan.ts";
export { placeholder, planOf } from "../transforms/jit.ts";
