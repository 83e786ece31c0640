/** What hand-written WGSL kernels share: bindings, strided indices, flat grids of workgroups. */
import type { DType } from "../../dtype.ts";
import type { View, WgslDispatch, WgslTarget } from "../../op.ts";

/** A binding with the name and element type that the shader gives it. */
export interface NamedBinding {
  readonly name: string;
  readonly operand: "input" | "output" | "scratch";
  readonly index: number;
  readonly access: "read" | "read_write";
  readonly dtype: DType;
  /** The shader sees vectors of four elements, see `isVectors`. */
  readonly vectors?: boolean;
}

/**
 * Whether a view may be read in vectors of four: neighbors along `axis` lie side by side, and every
 * fourth begins at a multiple of four.
 */
export function isVectors({ shape, strides, offset }: View, axis: number): boolean {
  const wholes = [offset, shape[axis]!, ...strides.filter((_, i) => i !== axis && shape[i] !== 1)];
  return strides[axis] === 1 && wholes.every((x) => x % 4 === 0) && !shape.includes(0);
}

/** Storage arrays for some bindings, in order. */
export function declare(bindings: readonly NamedBinding[]): string {
  return bindings.map(({ name, access, dtype, vectors }, i) => {
    const scalar = dtype === "bool" ? "u32" : dtype;
    return `@group(0) @binding(${i}) var<storage, ${access}> ${name}: ` +
      `array<${vectors ? `vec4<${scalar}>` : scalar}>;\n`;
  }).join("");
}

/** The dispatch of a shader: its code is the declarations of `bindings`, then `code`. */
export function dispatchOf(
  name: string,
  bindings: readonly NamedBinding[],
  code: string,
  workgroups: readonly [number, number, number],
): WgslDispatch {
  return {
    name,
    code: declare(bindings) + code,
    bindings: bindings.map(({ operand, index, access }) => ({ operand, index, access })),
    workgroups,
  };
}

/** The position in a buffer of an element of a view, as an i32 expression. */
export function elementAt(
  { shape, strides, offset }: Pick<View, "shape" | "strides" | "offset">,
  indices: readonly string[],
): string {
  const terms = indices.flatMap((index, axis) => {
    const stride = strides[axis]!;
    if (stride === 0 || shape[axis] === 1) return [];
    return [stride === 1 ? `(${index})` : `(${index}) * ${stride}`];
  });
  if (offset !== 0 || terms.length === 0) terms.push(String(offset));
  return terms.join(" + ");
}

/** The index along each axis of the element number `flat` (row-major) of some axes. */
export function unflatten(flat: string, shape: readonly number[]): string[] {
  let below = 1;
  return shape.map((length, axis) => ({ length, axis })).reverse().map(({ length, axis }) => {
    const quotient = below === 1 ? `u32(${flat})` : `u32(${flat}) / ${below}u`;
    below *= length;
    if (length === 1) return "0";
    return axis === 0 ? `i32(${quotient})` : `i32((${quotient}) % ${length}u)`;
  }).reverse();
}

/**
 * A grid for any number of workgroups; in the shader `group` is the flat number of the workgroup
 * (`workgroup` being the `workgroup_id`), and those from `count` on have nothing to do.
 */
export function flatGrid(count: number, target: WgslTarget) {
  const x = Math.min(count, target.limits.maxComputeWorkgroupsPerDimension);
  const y = count === 0 ? 0 : Math.ceil(count / x);
  return {
    workgroups: [x, y, 1] as const,
    group: `let group = i32(workgroup.x + workgroup.y * ${x}u);\n` +
      (x * y > count ? `  if (group >= ${count}) { return; }\n` : ""),
  };
}

/** The arguments of `main` that these kernels use. */
export const mainArguments = `@builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(local_invocation_index) local_index: u32`;

/**
 * The constant bound of a loop. On software adapters it is made unknown to the compiler (a dispatch
 * has one layer, so that `workgroup.z` is 0), which would otherwise unroll the loop for seconds.
 */
export function loopBound(count: number, target: WgslTarget): string {
  return target.software ? `${count} + i32(workgroup.z)` : String(count);
}

/** Lines from a function of 0..count-1. */
export function repeat(count: number, line: (i: number) => string, separator = "\n"): string {
  return Array.from({ length: count }, (_, i) => line(i)).join(separator);
}
