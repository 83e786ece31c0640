/** Tools to see what programs do: times, plans, memory, shapes, and where numbers go bad. */
export { type Cost, planCost } from "./cost.ts";
export { type LiveRow, type MemoryWatch, showLive, watchMemory } from "./leaks.ts";
export { debugLevel } from "./level.ts";
export { type MemoryReport, memoryReport, showMemory, type TemporaryRow } from "./memory_report.ts";
export { debugNans, NonFiniteError } from "./nans.ts";
export { type KernelRow, profile, showKernels } from "./profile.ts";
export { type Graph, type GraphNode, graphOf, graphToDot, showGraph } from "./show_graph.ts";
export { planToDot, showPlan } from "./show_plan.ts";
export { type ShapeRow, showShapes, traceShapes } from "./trace_shapes.ts";
export { placeholder, planOf } from "../transforms/jit.ts";
