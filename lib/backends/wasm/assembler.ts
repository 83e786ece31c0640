/**
 * A small WebAssembly assembler: expressions are plain values made by typed operations such as
 * `f32x4.add(a, b)`, and a function body is a callback that runs statements on its builder.
 *
 * @module
 */
import {
  type Code,
  type Expr,
  flatten,
  i32,
  type Operand,
  operand,
  unsignedLeb,
  type ValueType,
} from "./operations.ts";

export * from "./operations.ts";

/** A local variable; it reads as an expression and is written with `f.set`. */
export interface Local<T extends ValueType = ValueType> extends Expr<T> {
  readonly index: number;
}

/** The target of a branch: the end of a block, or the start of a loop. */
export interface Label {
  readonly level: number;
}

/** The type of an expression that leaves nothing on the stack. */
export type ResultType = ValueType | "void";

/** A declared function; calling it makes the expression (or, if void, the statement) of the call. */
export interface Func<P extends readonly ValueType[] = ValueType[], R extends ResultType = "void"> {
  (...args: { [K in keyof P]: Operand<P[K]> }): Expr<R>;
  readonly index: number;
}

/** Statements of one function body, in the order in which they are called. */
export interface FunctionBuilder {
  /** Declares a local with the value zero. */
  local<T extends ValueType>(type: T): Local<T>;
  /** Declares a local and sets it to `value` here. */
  let<T extends ValueType>(value: Expr<T>): Local<T>;
  /** Assigns to a local. */
  set<T extends ValueType>(local: Local<T>, value: Operand<T>): void;
  /** Runs an expression for its effect; its value, if any, is dropped. */
  do(expression: Expr<ResultType>): void;
  /** Writes to memory at `address + offset` (an address is in bytes, an offset a constant). */
  store: {
    [T in ValueType | "i8" | "i16"]: (
      address: Operand<"i32">,
      value: Operand<T extends ValueType ? T : "i32">,
      offset?: number,
    ) => void;
  };
  /** Writes one 32-bit lane of a vector. */
  storeLane(address: Operand<"i32">, value: Expr<"v128">, lane: number, offset?: number): void;
  if(condition: Operand<"i32">, then: () => void, otherwise?: () => void): void;
  /** Runs `body`; a branch to the label leaves it. */
  block(body: (exit: Label) => void): void;
  /** Runs `body` once; a branch to the label runs it again. */
  loop(body: (again: Label) => void): void;
  /** Runs `body` as long as the condition, which is tested first, is not zero. */
  while(condition: Expr<"i32">, body: () => void): void;
  /** Runs `body` for i = from, from + step, … while i < to (unsigned). */
  for(
    from: Operand<"i32">,
    to: Operand<"i32">,
    step: Operand<"i32">,
    body: (i: Local<"i32">) => void,
  ): void;
  br(label: Label): void;
  brIf(condition: Operand<"i32">, label: Label): void;
  return(value?: Expr): void;
}

/** A module under construction; it imports the shared memory as `env.memory`. */
export interface ModuleBuilder {
  /**
   * Adds a function. Exports keep their order: the n-th exported function has number n.
   *
   * @param signature parameter types, result type if any, and a name if it is exported
   * @param body makes the statements, given the builder and the parameters; of a function with a
   *   result it returns the expression of the result
   */
  func<const P extends readonly ValueType[], R extends ResultType = "void">(
    signature: { params: P; result?: R; export?: string },
    body: (
      f: FunctionBuilder,
      ...params: { [K in keyof P]: Local<P[K]> }
    ) => R extends ValueType ? Operand<R> : void,
  ): Func<P, R>;
  /** The functions of the host, by name. */
  readonly imports: Readonly<Record<string, Func<readonly ValueType[]>>>;
  /** The names of the exported functions, in their order. */
  readonly exports: readonly string[];
  /** Encodes the module. */
  bytes(): Uint8Array<ArrayBuffer>;
}

const typeBytes: Record<ValueType, number> = {
  i32: 0x7f,
  i64: 0x7e,
  f32: 0x7d,
  f64: 0x7c,
  v128: 0x7b,
};

const storeCodes: Record<ValueType | "i8" | "i16", readonly number[]> = {
  i32: [0x36, 2],
  i64: [0x37, 3],
  f32: [0x38, 2],
  f64: [0x39, 3],
  i8: [0x3a, 0],
  i16: [0x3b, 1],
  v128: [0xfd, 0x0b, 4],
};

/**
 * Starts an empty module.
 *
 * @param imports the parameters of functions without results that the host gives as `env.NAME`
 * @returns the builder of the module
 * @example
 * ```ts
 * import { f32x4, i32, v128, wasmModule } from "./assembler.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const m = wasmModule();
 * m.func({ params: ["i32", "i32"], export: "double" }, (f, pointer, end) => {
 *   f.while(i32.ltU(pointer, end), () => {
 *     f.store.v128(pointer, f32x4.mul(v128.load(pointer), 2));
 *     f.set(pointer, i32.add(pointer, 16));
 *   });
 * });
 * const memory = new WebAssembly.Memory({ initial: 1, maximum: 65536, shared: true });
 * const instance = new WebAssembly.Instance(new WebAssembly.Module(m.bytes()), { env: { memory } });
 * const data = new Float32Array(memory.buffer, 0, 4);
 * data.set([1, 2, 3, 4]);
 * (instance.exports.double as (pointer: number, end: number) => void)(0, 16);
 * assertEquals([...data], [2, 4, 6, 8]);
 * ```
 */
export function wasmModule(
  imports: Readonly<Record<string, readonly ValueType[]>> = {},
): ModuleBuilder {
  const types: string[] = [];
  const functions: { type: number; body: number[] }[] = [];
  const exports: { name: string; index: number }[] = [];

  const typeIndex = (params: readonly ValueType[], result: ResultType) => {
    const bytes = [
      0x60,
      ...vector(params.map((type) => [typeBytes[type]])),
      ...vector(result === "void" ? [] : [[typeBytes[result]]]),
    ].join();
    if (!types.includes(bytes)) types.push(bytes);
    return types.indexOf(bytes);
  };

  /** What calls the function with an index. */
  const callable = (params: readonly ValueType[], result: ResultType, index: number) => {
    const call = (...args: readonly Operand<ValueType>[]) => {
      const operands = args.map((arg, i) => operand(params[i], arg).code);
      return { type: result, code: [...operands, 0x10, ...unsignedLeb(index)] };
    };
    return Object.assign(call, { index }) as never;
  };
  // The indices of imported functions come before those of the module's own.
  const imported = Object.entries(imports).map(([name, params], index) => ({
    ...{ name, type: typeIndex(params, "void") },
    call: callable(params, "void", index),
  }));

  return {
    imports: Object.fromEntries(imported.map(({ name, call }) => [name, call])),
    func(signature, body) {
      const { params, result = "void" as never } = signature;
      const index = imported.length + functions.length;
      const entry = { type: typeIndex(params, result), body: [] as number[] };
      functions.push(entry);
      entry.body = functionBody(params, result, body as never);
      if (signature.export !== undefined) exports.push({ name: signature.export, index });
      return callable(params, result, index);
    },
    get exports() {
      return exports.map(({ name }) => name);
    },
    bytes() {
      const importMemory = [...name("env"), ...name("memory"), 2, 3, 1, ...unsignedLeb(65536)];
      const importFunctions = imported.map((f) => [
        ...[...name("env"), ...name(f.name), 0],
        ...unsignedLeb(f.type),
      ]);
      return new Uint8Array([
        ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
        ...section(1, types.map((type) => type.split(",").map(Number))),
        ...section(2, [importMemory, ...importFunctions]),
        ...section(3, functions.map(({ type }) => unsignedLeb(type))),
        ...section(7, exports.map((e) => [...name(e.name), 0, ...unsignedLeb(e.index)])),
        ...section(10, functions.map(({ body }) => body)),
      ]);
    },
  };
}

/** Runs the callback of a function and encodes its locals and code. */
function functionBody(
  params: readonly ValueType[],
  result: ResultType,
  body: (f: FunctionBuilder, ...params: Local[]) => Operand<ValueType> | void,
): number[] {
  const locals: ValueType[] = [];
  const constants = new Map<string, Local>();
  const prologue: number[] = [];
  const code: Code[] = [];
  let level = 0;

  const emit = (...parts: Code) => void code.push(parts);
  const localAt = <T extends ValueType>(type: T, index: number): Local<T> => ({
    type,
    index,
    code: [0x20, ...unsignedLeb(index)],
  });
  const assignment = (local: Local, value: Code): Code => [
    value,
    0x21,
    ...unsignedLeb(local.index),
  ];
  const nest = (opcode: number, inside: (label: Label) => void) => {
    emit(opcode, 0x40);
    level++;
    inside({ level });
    level--;
    emit(0x0b);
  };
  const depth = (label: Label) => unsignedLeb(level - label.level);

  const f: FunctionBuilder = {
    local(type) {
      locals.push(type);
      return localAt(type, params.length + locals.length - 1);
    },
    let(value) {
      const local = f.local(value.type);
      f.set(local, value);
      return local;
    },
    set(local, value) {
      emit(assignment(local, operand(local.type, value).code));
    },
    do(expression) {
      emit(expression.code);
      if (expression.type !== "void") emit(0x1a);
    },
    store: Object.fromEntries(
      Object.entries(storeCodes).map(([type, opcode]) => [
        type,
        (address: Operand<"i32">, value: Operand<ValueType>, offset = 0) => {
          const valueType = type === "i8" || type === "i16" ? "i32" : type as ValueType;
          const parts = [operand("i32", address).code, operand(valueType, value).code];
          emit(...parts, ...opcode, ...unsignedLeb(offset));
        },
      ]),
    ) as FunctionBuilder["store"],
    storeLane(address, value, lane, offset = 0) {
      emit(operand("i32", address).code, value.code, 0xfd, 0x5a, 2, ...unsignedLeb(offset), lane);
    },
    if(condition, then, otherwise) {
      emit(operand("i32", condition).code);
      nest(0x04, () => {
        then();
        if (otherwise) {
          emit(0x05);
          otherwise();
        }
      });
    },
    block: (inside) => nest(0x02, inside),
    loop: (inside) => nest(0x03, inside),
    while(condition, inside) {
      f.if(condition, () =>
        f.loop((again) => {
          inside();
          f.brIf(condition, again);
        }));
    },
    for(from, to, step, inside) {
      const i = f.let(operand("i32", from));
      f.while(i32.ltU(i, to), () => {
        inside(i);
        f.set(i, i32.add(i, step));
      });
    },
    br(label) {
      emit(0x0c, ...depth(label));
    },
    brIf(condition, label) {
      emit(operand("i32", condition).code, 0x0d, ...depth(label));
    },
    return(value) {
      if (value) emit(value.code);
      emit(0x0f);
    },
  };

  const value = body(f, ...params.map((type, i) => localAt(type, i)));
  if (result !== "void") emit(operand(result, value as Operand<ValueType>).code);
  const bytes = flatten([...code, 0x0b], (lanes) => {
    const key = lanes.join();
    let local = constants.get(key);
    if (local === undefined) {
      local = f.local("v128") as Local;
      constants.set(key, local);
      prologue.push(0xfd, 0x0c, ...lanes, 0x21, ...unsignedLeb(local.index));
    }
    return local.code as number[];
  });
  const declarations = vector(locals.map((type) => [1, typeBytes[type]]));
  const content = [...declarations, ...prologue, ...bytes];
  return [...unsignedLeb(content.length), ...content];
}

function vector(items: readonly (readonly number[])[]): number[] {
  return [...unsignedLeb(items.length), ...items.flat()];
}

function section(id: number, items: readonly (readonly number[])[]): number[] {
  const content = vector(items);
  return [id, ...unsignedLeb(content.length), ...content];
}

function name(text: string): number[] {
  const bytes = [...new TextEncoder().encode(text)];
  return [...unsignedLeb(bytes.length), ...bytes];
}
