/** The public face of the runtime. */
export type { Backend, DeviceCounters, DeviceName, TunedKernel } from "./backends/backend.ts";
export { DeviceLostError, isDeviceFault, OutOfMemoryError } from "./backends/errors.ts";
export * from "./debug/mod.ts";
export { defineOp } from "./define_op.ts";
export {
  closeDevices,
  currentDevice,
  type DeviceChoice,
  openDevice,
  reopenDevice,
  tuneKernels,
} from "./device.ts";
export { bytesPerElement, type DType, type HostArray, promote } from "./dtype.ts";
export * from "./distributed/mod.ts";
export * from "./formats/npy.ts";
export * from "./formats/npz.ts";
export * from "./formats/png.ts";
export { openPytorch } from "./formats/pytorch.ts";
export * from "./formats/safetensors.ts";
export type {
  Attributes,
  ExpressionRule,
  KernelOperand,
  KernelRule,
  KernelSpec,
  Op,
  ReductionRule,
  TensorType,
  View,
  VjpArguments,
  WgslDispatch,
  WgslTarget,
} from "./op.ts";
export { type Scope, scope } from "./scope.ts";
export type { Shape } from "./shape.ts";
export { type NestedArray, realize, Tensor, tensor, type TensorLike } from "./tensor.ts";
export {
  checkpoint,
  customVjp,
  grad,
  jvp,
  stopGradient,
  valueAndGrad,
  vjp,
} from "./transforms/vjp.ts";
export { jit, type JitOptions, type Jitted } from "./transforms/jit.ts";
export type { EarlyResults } from "./transforms/early_results.ts";
export { type Tree, treeEntries, treeLeaves, treeMap } from "./tree.ts";
