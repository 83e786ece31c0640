// Reading Python pickles as plain data: nothing is imported or called but what the caller's table allows.
// Format: https://github.com/python/cpython/blob/main/Lib/pickletools.py

/** What a global of a pickle stands for. Without `create` it is only a name that others can be given. */
export interface PickleGlobal {
  /** Gives the value of a call with these arguments. */
  create?(args: unknown[]): unknown;
  /** Takes in the state that follows a created value. */
  setState?(target: unknown, state: unknown): void;
}

/** How a pickle is read. */
export interface PickleOptions {
  /** What errors call the pickle. */
  source?: string;
  /** The globals allowed, by `module.name`; all others are refused. */
  globals?: ReadonlyMap<string, PickleGlobal>;
  /** Gives the value that a persistent id stands for; without it they are refused. */
  persistent?: (id: unknown) => unknown;
  /** Largest size in bytes (default 64 MiB). */
  maxBytes?: number;
  /** Deepest nesting of unfinished containers (default 1000). */
  maxDepth?: number;
}

/** Integers of more bytes are refused. */
const LONGEST_INTEGER = 256;

/**
 * Reads a pickle of protocol 2 to 5. A dict becomes a Map, list and tuple become arrays, a set or frozenset becomes a Set,
 * bytes become a Uint8Array, None becomes null, and integers beyond 2^53 become bigints.
 *
 * @param bytes the pickle
 * @param options what globals and persistent ids stand for, and limits
 * @returns the value
 * @throws {Error} if the pickle is broken, exceeds a limit, or names a global that is not allowed
 *
 * @example
 * ```ts
 * import { assertEquals, assertThrows } from "@std/assert";
 * import { readPickle } from "./pickle.ts";
 *
 * const bytes = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));
 * const dict = bytes("\x80\x02}X\x01\x00\x00\x00a](K\x01Nes.");
 * assertEquals(readPickle(dict), new Map([["a", [1, null]]]));
 *
 * const harmful = bytes("\x80\x02cos\nsystem\n.");
 * assertThrows(() => readPickle(harmful), Error, "refused global os.system");
 * ```
 */
export function readPickle(bytes: Uint8Array, options: PickleOptions = {}): unknown {
  const { source = "pickle", globals = new Map<string, PickleGlobal>() } = options;
  const { maxBytes = 64 * 2 ** 20, maxDepth = 1000, persistent } = options;
  const allowed = new Set(globals.values());
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = new TextDecoder("utf-8", { fatal: true });
  const stack: unknown[] = [];
  const marks: number[] = [];
  const memo = new Map<number, unknown>();
  const makers = new WeakMap<object, PickleGlobal>();
  let position = 0;

  const fail = (problem: string): never => {
    throw new Error(`readPickle: ${source}: ${problem} at byte ${position}`);
  };
  if (bytes.length > maxBytes) {
    fail(`expected at most ${maxBytes} bytes but found ${bytes.length}`);
  }
  const skip = (count: number): number => {
    if (count > bytes.length - position) fail("the pickle ends too early");
    return (position += count) - count;
  };
  const uint8 = () => view.getUint8(skip(1));
  const uint16 = () => view.getUint16(skip(2), true);
  const uint32 = () => view.getUint32(skip(4), true);
  const uint64 = () => Number(view.getBigUint64(skip(8), true));
  const take = (count: number) => bytes.subarray(skip(count), position);
  const string = (count: number): string => {
    const encoded = take(count);
    try {
      return text.decode(encoded);
    } catch {
      return fail("expected a text in UTF-8");
    }
  };
  const line = (): string => {
    const end = bytes.indexOf(10, position);
    if (end < 0) fail("the pickle ends too early");
    const found = string(end - position);
    position++;
    return found;
  };
  const integer = (count: number): number | bigint => {
    if (count > LONGEST_INTEGER) {
      fail(`expected an integer of at most ${LONGEST_INTEGER} bytes but found ${count}`);
    }
    let value = 0n;
    for (const [i, byte] of take(count).entries()) value |= BigInt(byte) << BigInt(8 * i);
    value = BigInt.asIntN(8 * count, value);
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : value;
  };

  const floor = () => marks.at(-1) ?? 0;
  const pop = (): unknown => stack.length > floor() ? stack.pop() : fail("the stack is empty");
  const top = (): unknown => stack.length > floor() ? stack.at(-1) : fail("the stack is empty");
  const popToMark = (): unknown[] => stack.splice(marks.pop() ?? fail("there is no mark"));
  const expectTop = <T>(kind: new () => T, what: string): T => {
    const found = top();
    return found instanceof kind ? found : fail(`expected ${what}`);
  };
  const popArray = (): unknown[] => {
    const found = pop();
    return Array.isArray(found) ? found : fail("expected a tuple");
  };
  const fetchMemo = (index: number): unknown =>
    memo.has(index) ? memo.get(index) : fail(`expected a value in place ${index} of the memo`);
  const global = (module: string, name: string): PickleGlobal =>
    globals.get(`${module}.${name}`) ?? fail(`refused global ${module}.${name}`);
  const call = (callee: unknown, args: unknown[]): unknown => {
    const maker = callee as PickleGlobal;
    if (!allowed.has(maker) || !maker.create) return fail("expected a callable global");
    const made = maker.create(args);
    if (typeof made === "object" && made !== null) makers.set(made, maker);
    return made;
  };
  const setItems = (items: unknown[]): void => {
    const target = expectTop<Map<unknown, unknown>>(Map, "a dict");
    if (items.length % 2 !== 0) fail("expected a value for each key");
    for (let i = 0; i < items.length; i += 2) target.set(items[i], items[i + 1]);
  };
  const dict = (items: unknown[]): void => {
    stack.push(new Map());
    setItems(items);
  };
  const build = (state: unknown): void => {
    const target = top();
    const setState = makers.get(target as object)?.setState;
    if (!setState) return fail("expected a value that takes a state");
    setState(target, state);
  };
  const persist = (id: unknown): unknown =>
    persistent ? persistent(id) : fail("refused a persistent id");
  const popTuple = (count: number): unknown[] => {
    const items = Array.from({ length: count }, pop);
    return items.reverse();
  };

  const operations: Record<number, () => void> = {
    0x80: () => { // PROTO
      const protocol = uint8();
      if (protocol < 2 || protocol > 5) {
        fail(`expected protocol 2 to 5 but found ${protocol}`);
      }
    },
    0x95: () => void skip(8), // FRAME: only a hint for buffering
    0x28: () => { // MARK
      if (marks.push(stack.length) > maxDepth) fail(`expected at most ${maxDepth} nested marks`);
    },
    0x30: () => void (stack.length > floor() ? stack.pop() : popToMark()), // POP
    0x31: () => void popToMark(), // POP_MARK
    0x32: () => void stack.push(top()), // DUP

    0x4e: () => void stack.push(null), // NONE
    0x88: () => void stack.push(true), // NEWTRUE
    0x89: () => void stack.push(false), // NEWFALSE
    0x4a: () => void stack.push(view.getInt32(skip(4), true)), // BININT
    0x4b: () => void stack.push(uint8()), // BININT1
    0x4d: () => void stack.push(uint16()), // BININT2
    0x8a: () => void stack.push(integer(uint8())), // LONG1
    0x8b: () => void stack.push(integer(uint32())), // LONG4
    0x47: () => void stack.push(view.getFloat64(skip(8))), // BINFLOAT
    0x58: () => void stack.push(string(uint32())), // BINUNICODE
    0x8c: () => void stack.push(string(uint8())), // SHORT_BINUNICODE
    0x8d: () => void stack.push(string(uint64())), // BINUNICODE8
    0x42: () => void stack.push(take(uint32()).slice()), // BINBYTES
    0x43: () => void stack.push(take(uint8()).slice()), // SHORT_BINBYTES
    0x8e: () => void stack.push(take(uint64()).slice()), // BINBYTES8
    0x96: () => void stack.push(take(uint64()).slice()), // BYTEARRAY8

    0x5d: () => void stack.push([]), // EMPTY_LIST
    0x61: () => { // APPEND
      const item = pop();
      expectTop<unknown[]>(Array, "a list").push(item);
    },
    0x65: () => { // APPENDS
      const items = popToMark();
      const list = expectTop<unknown[]>(Array, "a list");
      for (const item of items) list.push(item);
    },
    0x6c: () => void stack.push(popToMark()), // LIST
    0x29: () => void stack.push([]), // EMPTY_TUPLE
    0x74: () => void stack.push(popToMark()), // TUPLE
    0x85: () => void stack.push(popTuple(1)), // TUPLE1
    0x86: () => void stack.push(popTuple(2)), // TUPLE2
    0x87: () => void stack.push(popTuple(3)), // TUPLE3
    0x7d: () => void stack.push(new Map()), // EMPTY_DICT
    0x64: () => dict(popToMark()), // DICT
    0x73: () => setItems(popTuple(2)), // SETITEM
    0x75: () => setItems(popToMark()), // SETITEMS
    0x8f: () => void stack.push(new Set()), // EMPTY_SET
    0x90: () => { // ADDITEMS
      const items = popToMark();
      const set = expectTop<Set<unknown>>(Set, "a set");
      for (const item of items) set.add(item);
    },
    0x91: () => void stack.push(new Set(popToMark())), // FROZENSET

    0x71: () => void memo.set(uint8(), top()), // BINPUT
    0x72: () => void memo.set(uint32(), top()), // LONG_BINPUT
    0x94: () => void memo.set(memo.size, top()), // MEMOIZE
    0x68: () => void stack.push(fetchMemo(uint8())), // BINGET
    0x6a: () => void stack.push(fetchMemo(uint32())), // LONG_BINGET

    0x63: () => void stack.push(global(line(), line())), // GLOBAL
    0x93: () => { // STACK_GLOBAL
      const [module, name] = popTuple(2);
      stack.push(global(String(module), String(name)));
    },
    0x52: () => { // REDUCE
      const args = popArray();
      stack.push(call(pop(), args));
    },
    0x81: () => { // NEWOBJ
      const args = popArray();
      stack.push(call(pop(), args));
    },
    0x62: () => build(pop()), // BUILD
    0x51: () => void stack.push(persist(pop())), // BINPERSID
  };

  for (;;) {
    const code = uint8();
    if (code === 0x2e) { // STOP
      const value = pop();
      if (stack.length > 0 || marks.length > 0) fail("expected one value");
      return value;
    }
    (operations[code] ?? (() => fail(`refused opcode 0x${code.toString(16).padStart(2, "0")}`)))();
  }
}
