/** Training on several processes at once. */
export { type Mpi, openMpi } from "./mpi.ts";
export { type OverlappedSums, overlappedSums } from "./overlap.ts";
export { averageGradients, broadcastParameters } from "./parallel.ts";
