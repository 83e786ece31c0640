/** Running the lazy graph: values that are wanted are compiled together, run, and given memory. */
import type { HostArray } from "./dtype.ts";
import type { Backend, DeviceBuffer, Executable, RunListener } from "./backends/backend.ts";
import { canonicalize } from "./compiler/canonical.ts";
import { compile, type Compiled, type CompileOptions } from "./compiler/compile.ts";
import { execute } from "./debug/execute.ts";
import { reportPlan } from "./debug/report.ts";
import { ensureDevice } from "./device.ts";
import { byteLength, makeSource, type Node, Storage, type Value } from "./graph.ts";
import { showType } from "./shape.ts";

/** A compiled program on a device. */
export interface Program extends Compiled {
  /** What reports call it. */
  readonly name: string;
  readonly executable: Executable;
}

/** What the compiler must know of a device. */
export function compileOptions(device: Backend): Omit<CompileOptions, "donated"> {
  return {
    backend: device.name,
    fuses: device.fuses,
    buffersPerKernel: device.limits.buffersPerKernel,
    acceptsViews: (unit) => device.acceptsViews(unit.op),
  };
}

/** The buffer of a known value; a literal is brought to the device first. */
export function bufferOf(device: Backend, value: Value): DeviceBuffer {
  if (!value.storage || (value.storage.released && value.host)) {
    if (!value.host) throw new TypeError("Expected a value at hand but found one to be computed");
    const buffer = device.allocate(Math.max(4, byteLength(value)), `literal ${showType(value)}`);
    device.write(buffer, value, value.host);
    value.storage = new Storage(device, buffer, { label: "literal", type: value });
  }
  if (value.storage.released) {
    throw new Error(
      `Expected a live tensor but found ${
        showType(value)
      }, whose memory was donated or disposed of`,
    );
  }
  if (value.storage.backend !== device) {
    throw new Error(
      `Expected a tensor on ${device.name} but found ${
        showType(value)
      } on ${value.storage.backend.name}`,
    );
  }
  return value.storage.buffer;
}

/**
 * Runs a program and gives its outputs their memory.
 *
 * @param shared The storage of an input that is also an output, if it keeps its owner.
 * @param listener Told while it runs, when the outputs have their memory but not all of them their elements.
 */
export function runProgram(
  device: Backend,
  program: Program,
  inputs: readonly DeviceBuffer[],
  outputs: readonly Value[],
  shared: (input: number) => Storage | undefined = () => undefined,
  listener?: RunListener,
): void {
  const { plan } = program;
  const buffers = [...inputs];
  for (let at = inputs.length; at < plan.bound.length; at++) {
    const { bytes, label } = plan.buffers[plan.bound[at]!]!;
    buffers.push(device.allocate(bytes, label));
  }
  const storages = new Map<number, Storage>();
  const giveMemory = () => {
    if (storages.size > 0) return;
    for (const [i, value] of outputs.entries()) {
      const at = program.outputs[i]!;
      let storage = storages.get(at);
      if (!storage) {
        storage = (at < inputs.length ? shared(at) : undefined) ??
          new Storage(device, buffers[at]!, plan.buffers[plan.bound[at]!]!);
        storages.set(at, storage);
      }
      value.storage = storage;
    }
  };
  execute(
    program,
    buffers,
    listener && {
      after: listener.after,
      reached(step) {
        giveMemory();
        listener.reached(step);
      },
    },
  );
  giveMemory();
}

const programs = new WeakMap<Backend, Map<string, Program>>();
const mostPrograms = 512;

function eagerProgram(device: Backend, key: string, make: () => Compiled): Program {
  let known = programs.get(device);
  if (!known) programs.set(device, known = new Map());
  let program = known.get(key);
  if (program) {
    known.delete(key); // re-inserted below: the map is in order of last use
  } else {
    program = prepareProgram(device, "eager", make());
  }
  known.set(key, program);
  if (known.size > mostPrograms) {
    const [oldest, { executable }] = known.entries().next().value!;
    executable.dispose();
    known.delete(oldest);
  }
  return program;
}

/** Computes values that are not at hand, all in one program. */
export async function realizeValues(values: readonly Value[]): Promise<void> {
  realizeNow(await ensureDevice(), values);
}

/** The same on an open device. Values that something still holds are kept as well. */
export function realizeNow(device: Backend, values: readonly Value[]): void {
  const wanted = new Set<Value>();
  const seen = new Set<Value>();
  const stack = values.map((value) => ({ value, asked: true }));
  while (stack.length > 0) {
    const { value, asked } = stack.pop()!;
    if (value.known || value.node.op.run.kind === "source") {
      if (!value.known) {
        throw new TypeError(
          `Expected a value that can be computed but found a parameter of a traced function (${
            showType(value)
          }): read tensors outside of jit, grad and the like`,
        );
      }
      continue;
    }
    if (asked || (value.handle?.deref() && !isFree(value.node))) wanted.add(value);
    if (seen.has(value)) continue;
    seen.add(value);
    for (const input of value.node.inputs) stack.push({ value: input, asked: false });
  }
  if (wanted.size === 0) return;
  const outputs = [...wanted].sort((a, b) => a.node.id - b.node.id || a.index - b.index);
  const graph = canonicalize(outputs);
  const program = eagerProgram(device, graph.key, () => compile(graph, compileOptions(device)));
  const inputs = graph.inputs.map(({ value }) => bufferOf(device, value));
  runProgram(device, program, inputs, outputs, (at) => graph.inputs[at]!.value.storage);
  for (const value of outputs) settle(value);
}

/** Whether a node is constant or only moves elements, so that its value is never worth keeping. */
function isFree({ op, inputs }: Node): boolean {
  return op.run.kind === "expression" && (inputs.length === 0 || op.run.view !== undefined);
}

/** Cuts a computed value off the graph that made it, so that the graph can be collected. */
export function settle(value: Value): void {
  value.node = makeSource(value).node;
}

/** Makes a compiled program ready to run on a device. */
export function prepareProgram(device: Backend, name: string, compiled: Compiled): Program {
  reportPlan(name, compiled.plan);
  return { ...compiled, name, executable: device.prepare(compiled.plan) };
}

/** The elements of a value, computed if need be. */
export async function readValue(value: Value): Promise<HostArray> {
  if (value.host) return value.host.slice();
  if (!value.known) await realizeValues([value]);
  const storage = value.storage!;
  bufferOf(storage.backend, value);
  return await storage.backend.read(storage.buffer, value);
}
