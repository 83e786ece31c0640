/** The scalar operations in WGSL: one rule per operation, and the functions that the rules call. */
import { type DType, isFloat } from "../../dtype.ts";
import type { Expr } from "../../compiler/expr.ts";
import type { ScalarOp } from "../../compiler/scalar_ops.ts";

/** The WGSL of an operation on arguments that are names or parenthesized. */
type Rule = (args: readonly string[], expr: Expr) => string;

const infix = (operator: string): Rule => ([a, b]) => `(${a} ${operator} ${b})`;
const prefix = (operator: string): Rule => ([a]) => `(${operator}${a})`;
/** A function of f32; f16 goes through f32. */
const float = (name: string): Rule => (args, { args: [x] }) =>
  x!.dtype === "f16"
    ? `f16(${name}(${args.map((arg) => `f32(${arg})`).join(", ")}))`
    : `${name}(${args.join(", ")})`;
/** Integers and bools have the value already. */
const floatOnly = (rule: Rule): Rule => (args, expr) =>
  isFloat(expr.dtype) ? rule(args, expr) : args[0]!;
const operand = (expr: Expr): DType => expr.args[0]!.dtype;
/** `a < b` where false < true. */
const order = (operator: string): Rule => ([a, b], expr) =>
  operand(expr) === "bool" ? `(u32(${a}) ${operator} u32(${b}))` : `(${a} ${operator} ${b})`;
const extreme = (builtin: "max" | "min"): Rule => (args, expr) =>
  expr.dtype === "bool"
    ? `(${args.join(builtin === "max" ? " || " : " && ")})`
    : isFloat(expr.dtype)
    ? float(`${builtin}_or_nan`)(args, expr)
    : `${builtin}(${args.join(", ")})`;
const shift = (operator: string): Rule => ([a, b], { args: [, count] }) =>
  count!.op === "const"
    ? `(${a} ${operator} ${count!.value & 31}u)`
    : `(${a} ${operator} (u32(${b}) & 31u))`;

/** Division where both signs are known is done on u32, where it is a multiplication or a shift. */
const integerDivision = (operator: "/" | "%"): Rule => ([a, b], { args: [x, y], dtype }) => {
  const constant = y!.op === "const" && y!.value > 0;
  if (constant && dtype === "u32") return `(${a} ${operator} ${b})`;
  if (constant && x!.min >= 0) return `i32(u32(${a}) ${operator} ${y!.value}u)`;
  if (constant) return `(${a} ${operator} ${b})`;
  return `${operator === "/" ? "divide" : "modulo"}_${dtype}(${a}, ${b})`;
};

const power: Rule = (args, expr) => {
  const exponent = expr.args[1]!;
  if (exponent.op === "const" && isFloat(expr.dtype)) {
    if (exponent.value === 2) return float("squared")([args[0]!], expr);
    if (exponent.value === 3) return float("cubed")([args[0]!], expr);
  }
  return isFloat(expr.dtype)
    ? float("power")(args, expr)
    : `${expr.dtype}(round(power(f32(${args[0]}), f32(${args[1]}))))`;
};

/** How each scalar operation is written. */
export const scalarWgsl: Record<ScalarOp, Rule> = {
  neg: ([a], { dtype }) => dtype === "u32" ? `(0u - ${a})` : `(-${a})`,
  abs: ([a], { dtype }) => dtype === "u32" ? a! : `abs(${a})`,
  sign: ([a], expr) =>
    isFloat(expr.dtype)
      ? float("sign_or_nan")([a!], expr)
      : expr.dtype === "u32"
      ? `min(${a}, 1u)`
      : `sign(${a})`,
  floor: floatOnly(([a]) => `floor(${a})`),
  ceil: floatOnly(([a]) => `ceil(${a})`),
  round: floatOnly(([a]) => `round(${a})`),
  sqrt: ([a]) => `sqrt(${a})`,
  exp: float("exp_or_nan"),
  log: float("log_or_nan"),
  sin: float("sine"),
  cos: float("cosine"),
  tanh: float("tanh_clamped"),
  erf: float("error_function"),
  isNan: ([a], expr) => isFloat(operand(expr)) ? `is_nan(f32(${a}))` : "false",
  not: prefix("!"),
  bitNot: ([a], { dtype }) => dtype === "bool" ? `(!${a})` : `(~${a})`,

  add: infix("+"),
  sub: infix("-"),
  mul: infix("*"),
  div: infix("/"),
  divide: integerDivision("/"),
  modulo: integerDivision("%"),
  pow: power,
  minimum: extreme("min"),
  maximum: extreme("max"),
  // Drivers fold a comparison of a value with itself, and `!=` is false for NaN on some.
  equal: ([a, b], expr) =>
    expr.args[0] !== expr.args[1]
      ? `(${a} == ${b})`
      : isFloat(operand(expr))
      ? `(!is_nan(f32(${a})))`
      : "true",
  notEqual: ([a, b], expr) =>
    expr.args[0] !== expr.args[1]
      ? `(!(${a} == ${b}))`
      : isFloat(operand(expr))
      ? `is_nan(f32(${a}))`
      : "false",
  less: order("<"),
  lessEqual: order("<="),
  and: infix("&&"),
  or: infix("||"),
  xor: infix("!="),
  bitAnd: infix("&"),
  bitOr: infix("|"),
  bitXor: ([a, b], { dtype }) => dtype === "bool" ? `(${a} != ${b})` : `(${a} ^ ${b})`,
  shiftLeft: shift("<<"),
  shiftRight: shift(">>"),
  threefry0: (args) => `threefry(${args.join(", ")}).x`,
  threefry1: (args) => `threefry(${args.join(", ")}).y`,

  where: ([condition, a, b]) => `select(${b}, ${a}, ${condition})`,
};

/** A number as WGSL. Infinities and NaN come out of functions: WGSL refuses them as constants. */
export function constantWgsl(dtype: DType, value: number): string {
  switch (dtype) {
    case "bool":
      return value ? "true" : "false";
    case "u32":
      return `${value >>> 0}u`;
    case "i32":
      return value === -(2 ** 31) ? "(-2147483647i - 1i)" : value < 0 ? `(${value}i)` : `${value}i`;
    case "f16":
      return Number.isFinite(value) ? signed(value, "h") : `f16(${constantWgsl("f32", value)})`;
    case "f32":
      if (Number.isNaN(value)) return "not_a_number()";
      if (Number.isFinite(value)) return signed(value, "f");
      return value > 0 ? "infinity()" : "(-infinity())";
  }
}

function signed(value: number, suffix: "f" | "h"): string {
  return value < 0 || Object.is(value, -0) ? `(-${-value}${suffix})` : `${value}${suffix}`;
}

/** A conversion. */
export function castWgsl(to: DType, from: DType, x: string): string {
  if (to === "bool") return `(${x} != ${constantWgsl(from, 0)})`;
  return `${to}(${x})`;
}

/** The functions that rules call, in an order in which each stands before its users. */
const functions: readonly (readonly [name: string, code: string])[] = [
  // `var`: a constant would be evaluated, and refused, when the shader is compiled.
  ["infinity", `fn infinity() -> f32 { var bits = 0x7f800000u; return bitcast<f32>(bits); }`],
  [
    "not_a_number",
    `fn not_a_number() -> f32 { var bits = 0x7fc00000u; return bitcast<f32>(bits); }`,
  ],
  [
    "is_nan",
    `fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }`,
  ],
  [
    "max_or_nan",
    `fn max_or_nan(a: f32, b: f32) -> f32 {
  return select(select(max(a, b), b, is_nan(b)), a, is_nan(a));
}`,
  ],
  [
    "min_or_nan",
    `fn min_or_nan(a: f32, b: f32) -> f32 {
  return select(select(min(a, b), b, is_nan(b)), a, is_nan(a));
}`,
  ],
  ["sign_or_nan", `fn sign_or_nan(x: f32) -> f32 { return select(sign(x), x, is_nan(x)); }`],
  ["exp_or_nan", `fn exp_or_nan(x: f32) -> f32 { return select(exp(x), x, is_nan(x)); }`],
  [
    "log_or_nan",
    `fn log_or_nan(x: f32) -> f32 {
  return select(select(log(x), not_a_number(), x < 0.0), x, is_nan(x));
}`,
  ],
  [
    "tanh_clamped",
    `fn tanh_clamped(x: f32) -> f32 {
  return select(tanh(clamp(x, -15.0, 15.0)), x, is_nan(x));
}`,
  ],
  // Hardware sines are only exact near 0: subtract multiples of 2 pi in three exact pieces.
  [
    "near_zero",
    `fn near_zero(x: f32) -> f32 {
  let turns = round(x * 0.15915494309);
  return ((x - turns * 6.28125) - turns * 0.0019352436065673828) - turns * 6.357301885e-8;
}`,
  ],
  ["sine", `fn sine(x: f32) -> f32 { return sin(near_zero(x)); }`],
  ["cosine", `fn cosine(x: f32) -> f32 { return cos(near_zero(x)); }`],
  // A series near 0; elsewhere the complement by a Chebyshev fit (Numerical Recipes, 6.2).
  [
    "error_function",
    `fn error_function(x: f32) -> f32 {
  let z = abs(x);
  if (z < 0.5) {
    let s = x * x;
    return x * (1.1283791671 + s * (-0.37612638903 + s * (0.11283791671 + s * (-0.026866170645 +
      s * (0.0052239776254 + s * (-0.00085483270234 + s * 0.00012055332981))))));
  }
  let t = 1.0 / (1.0 + 0.5 * z);
  let fit = t * exp(-z * z - 1.26551223 + t * (1.00002368 + t * (0.37409196 + t * (0.09678418 +
    t * (-0.18628806 + t * (0.27886807 + t * (-1.13520398 + t * (1.48851587 +
    t * (-0.82215223 + t * 0.17087277)))))))));
  return select(select(sign(x), sign(x) * (1.0 - fit), z < 6.0), x, is_nan(x));
}`,
  ],
  ["squared", `fn squared(x: f32) -> f32 { return x * x; }`],
  ["cubed", `fn cubed(x: f32) -> f32 { return x * x * x; }`],
  [
    "power",
    `fn power(x: f32, y: f32) -> f32 {
  if (y == 0.0) { return 1.0; }
  if (is_nan(x) || is_nan(y)) { return not_a_number(); }
  let size = pow(abs(x), y);
  if (!(x < 0.0)) { return size; }
  if (y != floor(y)) { return select(not_a_number(), size, abs(x) > 3.4028234e38); }
  return select(size, -size, abs(y) < 16777216.0 && (i32(y) & 1) != 0);
}`,
  ],
  ["divide_i32", `fn divide_i32(a: i32, b: i32) -> i32 { return select(a / b, 0i, b == 0i); }`],
  ["divide_u32", `fn divide_u32(a: u32, b: u32) -> u32 { return select(a / b, 0u, b == 0u); }`],
  ["modulo_i32", `fn modulo_i32(a: i32, b: i32) -> i32 { return select(a % b, 0i, b == 0i); }`],
  ["modulo_u32", `fn modulo_u32(a: u32, b: u32) -> u32 { return select(a % b, 0u, b == 0u); }`],
  [
    "threefry",
    `fn threefry_rounds(x: vec2<u32>, r: vec4<u32>) -> vec2<u32> {
  var a = x.x;
  var b = x.y;
  a += b; b = ((b << r.x) | (b >> (32u - r.x))) ^ a;
  a += b; b = ((b << r.y) | (b >> (32u - r.y))) ^ a;
  a += b; b = ((b << r.z) | (b >> (32u - r.z))) ^ a;
  a += b; b = ((b << r.w) | (b >> (32u - r.w))) ^ a;
  return vec2<u32>(a, b);
}
fn threefry(k0: u32, k1: u32, c0: u32, c1: u32) -> vec2<u32> {
  let odd = vec4<u32>(13u, 15u, 26u, 6u);
  let even = vec4<u32>(17u, 29u, 16u, 24u);
  let k2 = k0 ^ k1 ^ 0x1bd11bdau;
  var x = vec2<u32>(c0 + k0, c1 + k1);
  x = threefry_rounds(x, odd) + vec2<u32>(k1, k2 + 1u);
  x = threefry_rounds(x, even) + vec2<u32>(k2, k0 + 2u);
  x = threefry_rounds(x, odd) + vec2<u32>(k0, k1 + 3u);
  x = threefry_rounds(x, even) + vec2<u32>(k1, k2 + 4u);
  return threefry_rounds(x, odd) + vec2<u32>(k2, k0 + 5u);
}`,
  ],
];

/** The definitions of the functions that some WGSL calls, and of those that they call. */
export function functionsFor(code: string): string {
  const needed: string[] = [];
  let text = code;
  for (const [name, definition] of [...functions].reverse()) {
    if (!new RegExp(`\\b${name}\\(`).test(text)) continue;
    needed.unshift(definition);
    text += definition;
  }
  return needed.map((definition) => `${definition}\n`).join("");
}
