/** Ops that work element by element, against the host's own arithmetic. */
import { erf as exactErf } from "../../lib/compiler/scalar_ops.ts";
import * as ops from "../../ops/mod.ts";
import { testPointwise } from "../ops_harness.ts";

const positive = { low: 0.3, high: 3 };
const whole = { dtype: "i32", low: -9, high: 9 } as const;
const unsigned = { dtype: "u32", low: 0, high: 40 } as const;
const bool = { dtype: "bool", low: 0, high: 2 } as const;

testPointwise("add", ops.add, (x, y) => x + y, [{}, {}]);
testPointwise("add of integers", ops.add, (x, y) => x + y, [whole, whole]);
testPointwise("sub", ops.sub, (x, y) => x - y, [{}, {}]);
testPointwise("sub of unsigned integers", ops.sub, (x, y) => (x - y) >>> 0, [unsigned, unsigned]);
testPointwise("mul", ops.mul, (x, y) => x * y, [{}, {}]);
testPointwise("mul of integers and floats", ops.mul, (x, y) => x * y, [whole, {}]);
testPointwise("div", ops.div, (x, y) => x / y, [{}, positive]);
testPointwise("floorDivide", ops.floorDivide, (x, y) => y ? Math.floor(x / y) : 0, [whole, {
  ...whole,
  low: 1,
}]);
testPointwise("floorDivide by negative numbers", ops.floorDivide, (x, y) => Math.floor(x / y), [
  whole,
  { ...whole, low: -5, high: 0 },
]);
testPointwise("remainder", ops.remainder, (x, y) => x - Math.floor(x / y) * y, [{}, positive]);
testPointwise("remainder of integers", ops.remainder, (x, y) => ((x % y) + y) % y, [
  whole,
  { ...whole, low: -5, high: 0 },
]);
testPointwise("remainder of unsigned integers", ops.remainder, (x, y) => x % y, [
  unsigned,
  { ...unsigned, low: 1 },
]);
testPointwise("neg", ops.neg, (x) => -x);
testPointwise("abs", ops.abs, Math.abs);
testPointwise("sign", ops.sign, Math.sign);
testPointwise("reciprocal", ops.reciprocal, (x) => 1 / x, [positive]);
testPointwise("square", ops.square, (x) => x * x);
testPointwise("pow", ops.pow, (x, y) => x ** y, [positive, {}]);
testPointwise("pow with a whole exponent", (x) => ops.pow(x, 3), (x) => x ** 3);
testPointwise("pow with a negative exponent", (x) => ops.pow(x, -2), (x) => x ** -2, [positive]);
testPointwise("minimum", ops.minimum, Math.min, [{}, {}]);
testPointwise("maximum", ops.maximum, Math.max, [{}, {}]);
testPointwise(
  "clamp",
  (x) => ops.clamp(x, -1, 0.5),
  (x) => Math.min(0.5, Math.max(-1, x)),
);
testPointwise("exp", ops.exp, Math.exp);
testPointwise("expm1", ops.expm1, Math.expm1);
testPointwise("log", ops.log, Math.log, [positive]);
testPointwise("log1p", ops.log1p, Math.log1p, [{ low: -0.9, high: 3 }]);
testPointwise("log1p of small numbers", ops.log1p, Math.log1p, [{ low: -1e-4, high: 1e-4 }]);
testPointwise("sqrt", ops.sqrt, Math.sqrt, [positive]);
testPointwise("rsqrt", ops.rsqrt, (x) => 1 / Math.sqrt(x), [positive]);
testPointwise("sin", ops.sin, Math.sin);
testPointwise("cos", ops.cos, Math.cos);
testPointwise("tanh", ops.tanh, Math.tanh);
testPointwise("erf", ops.erf, exactErf);
testPointwise("erfinv", (x) => ops.erf(ops.erfinv(x)), (x) => x, [{ low: -0.99, high: 0.99 }], {
  gradient: false, // of a formula that approximates
});
testPointwise("sigmoid", ops.sigmoid, (x) => 1 / (1 + Math.exp(-x)), [{ low: -9, high: 9 }]);
testPointwise("softplus", ops.softplus, (x) => Math.log(1 + Math.exp(x)));
testPointwise("relu", ops.relu, (x) => Math.max(0, x));
testPointwise("gelu", (x) => ops.gelu(x), (x) => x * (1 + exactErf(x / Math.SQRT2)) / 2);
testPointwise(
  "gelu with tanh",
  (x) => ops.gelu(x, { approximate: true }),
  (x) => x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))) / 2,
);
testPointwise("silu", ops.silu, (x) => x / (1 + Math.exp(-x)));

testPointwise("floor", ops.floor, Math.floor);
testPointwise("ceil", ops.ceil, Math.ceil);
testPointwise("round", (x) => ops.round(ops.mul(x, 4)), (x) => Math.round(x * 4));
testPointwise(
  "isFinite",
  (x) => ops.isFinite(ops.div(1, ops.floor(x))),
  (x) => +(Math.floor(x) !== 0),
);
testPointwise(
  "isNan",
  (x) => ops.isNan(ops.div(ops.floor(x), ops.floor(x))),
  (x) => +(Math.floor(x) === 0),
);

testPointwise("equal", ops.equal, (x, y) => +(x === y), [whole, whole]);
testPointwise("notEqual", ops.notEqual, (x, y) => +(x !== y), [whole, whole]);
testPointwise("less", ops.less, (x, y) => +(x < y), [{}, {}]);
testPointwise("lessEqual", ops.lessEqual, (x, y) => +(x <= y), [whole, whole]);
testPointwise("greater", ops.greater, (x, y) => +(x > y), [unsigned, unsigned]);
testPointwise("greaterEqual", ops.greaterEqual, (x, y) => +(x >= y), [{}, {}]);
testPointwise("logicalAnd", ops.logicalAnd, (x, y) => x & y, [bool, bool]);
testPointwise("logicalOr", ops.logicalOr, (x, y) => x | y, [bool, bool]);
testPointwise("logicalXor", ops.logicalXor, (x, y) => x ^ y, [bool, bool]);
testPointwise("logicalNot", ops.logicalNot, (x) => 1 - x, [bool]);
testPointwise("bitAnd", ops.bitAnd, (x, y) => x & y, [whole, whole]);
testPointwise("bitOr", ops.bitOr, (x, y) => (x | y) >>> 0, [unsigned, unsigned]);
testPointwise("bitXor", ops.bitXor, (x, y) => x ^ y, [whole, whole]);
testPointwise("bitNot", ops.bitNot, (x) => ~x, [whole]);
testPointwise("shiftLeft", (x) => ops.shiftLeft(x, 3), (x) => x << 3, [whole]);
testPointwise("shiftRight", (x) => ops.shiftRight(x, 1), (x) => x >> 1, [whole]);

testPointwise("where", ops.where, (c, x, y) => c ? x : y, [bool, {}, {}]);
testPointwise("cast to an integer", (x) => ops.cast(x, "i32"), Math.trunc);
testPointwise("cast to bool", (x) => ops.cast(x, "bool"), (x) => +(x !== 0), [whole]);
testPointwise("cast to a float", (x) => ops.cast(x, "f32"), (x) => x, [whole]);
testPointwise(
  "bitcast",
  (x) => ops.bitcast(x, "u32"),
  (x) => new Uint32Array(Float32Array.of(x).buffer)[0]!,
);
