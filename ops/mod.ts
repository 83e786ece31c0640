/** Every op: the public functions of this folder. */
export { arange, eye, full, iota, linspace, ones, onesLike, zeros, zerosLike } from "./create.ts";
export { bitcast, cast } from "./cast.ts";
export { asTensors, broadcast, broadcastTo, sumTo } from "./broadcast.ts";
export { abs, add, div, floorDivide, mul, neg, remainder, sign, sub } from "./arithmetic.ts";
export { pow, reciprocal, square } from "./power.ts";
export { clamp, maximum, minimum } from "./extremes.ts";
export { cos, erf, erfinv, exp, expm1, log, log1p, rsqrt, sin, sqrt, tanh } from "./math.ts";
export { ceil, floor, isFinite, isNan, round } from "./rounding.ts";
export { gelu, relu, sigmoid, silu, softplus } from "./activations.ts";
export { equal, greater, greaterEqual, less, lessEqual, notEqual } from "./compare.ts";
export {
  bitAnd,
  bitNot,
  bitOr,
  bitXor,
  logicalAnd,
  logicalNot,
  logicalOr,
  logicalXor,
  shiftLeft,
  shiftRight,
} from "./logic.ts";
export { where } from "./where.ts";
export { expandDims, reshape, squeeze } from "./reshape.ts";
export { moveAxis, swapAxes, transpose } from "./transpose.ts";
export { flip, type Range, slice, split } from "./slice.ts";
export { pad } from "./pad.ts";
export { concat, repeat, roll, stack, tile } from "./concat.ts";
export { rearrange } from "./rearrange.ts";
export { einsum } from "./einsum.ts";
export { all, any, max, mean, min, product, type ReduceOptions, sum } from "./reduce.ts";
export { argmax, argmin, l2Normalize, norm, type SearchOptions, variance } from "./statistics.ts";
export { logSoftmax, logsumexp, softmax } from "./softmax.ts";
export { groupNorm, layerNorm, rmsNorm } from "./normalize.ts";
export { crossEntropy } from "./cross_entropy.ts";
export { dynamicSlice, embedding, oneHot, take, takeAlong } from "./gather.ts";
export { scatterAdd, scatterAlong, updateSlice } from "./scatter/scatter.ts";
export { cumulativeSum } from "./scan/scan.ts";
export { argsort, sort, type SortOptions } from "./sort/sort.ts";
export { matmul } from "./matmul/matmul.ts";
export { attention, type AttentionOptions } from "./attention/attention.ts";
export { conv2d, type Conv2dOptions } from "./conv2d/conv2d.ts";
export { linearCrossEntropy } from "./linear_cross_entropy/linear_cross_entropy.ts";
export { upsampleNearest } from "./upsample.ts";
export { averagePool2d, maxPool2d, type Pool2dOptions } from "./pool2d.ts";
export { rotary2d, rotaryTable, rotaryTableAt } from "./rotary.ts";
export { foldIn, key as randomKey, randomBits, splitKey } from "./random.ts";
export {
  bernoulli,
  categorical,
  gumbel,
  normal,
  permutation,
  randint,
  truncatedNormal,
  uniform,
} from "./distributions.ts";
export { dropout } from "./dropout.ts";
export { filterLogits, type FilterOptions } from "./filter_logits.ts";
export { adamw, type AdamWGroup, type AdamWOptions, type AdamWState } from "./optimizers/adamw.ts";
export { clipByGlobalNorm, globalNorm } from "./optimizers/clip.ts";
export { ema } from "./optimizers/ema.ts";
export {
  constantSchedule,
  cosineSchedule,
  linearSchedule,
  type Schedule,
  warmup,
} from "./optimizers/schedules.ts";
export { sgd, type SgdOptions, type SgdState } from "./optimizers/sgd.ts";
