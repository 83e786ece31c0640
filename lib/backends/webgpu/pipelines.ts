/** Compute pipelines, made once for each text of WGSL, and errors that show that text. */
import { reportShader } from "../../debug/report.ts";
import type { Gpu } from "./device.ts";

/** A compiled shader. */
export interface Pipeline {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
  /** Why it cannot run, once that is known. */
  failure?: Error;
}

/** The pipelines of a device. */
export interface Pipelines {
  /** The pipeline of a dispatch. */
  get(dispatch: {
    readonly name: string;
    readonly code: string;
    readonly bindings: readonly { readonly access: "read" | "read_write" }[];
  }): Pipeline;
}

/** Opens the cache of pipelines of a device. */
export function openPipelines(gpu: Gpu): Pipelines {
  const { device } = gpu;
  const pipelines = new Map<string, Pipeline>();
  const layouts = new Map<string, { group: GPUBindGroupLayout; pipeline: GPUPipelineLayout }>();

  // Explicit layouts: bindings that a shader does not use stay, and bind groups can be shared.
  const layoutOf = (accesses: readonly ("read" | "read_write")[]) => {
    const key = accesses.join();
    let layout = layouts.get(key);
    if (!layout) {
      const group = device.createBindGroupLayout({
        entries: accesses.map((access, binding) => ({
          binding,
          visibility: GPUShaderStage.COMPUTE,
          buffer: { type: access === "read" ? "read-only-storage" : "storage" },
        })),
      });
      layout = { group, pipeline: device.createPipelineLayout({ bindGroupLayouts: [group] }) };
      layouts.set(key, layout);
    }
    return layout;
  };

  const compile = (name: string, code: string, layout: ReturnType<typeof layoutOf>): Pipeline => {
    reportShader(name, code);
    device.pushErrorScope("validation");
    const module = device.createShaderModule({ label: name, code });
    const pipeline = device.createComputePipeline({
      label: name,
      layout: layout.pipeline,
      compute: { module, entryPoint: "main" },
    });
    const result: Pipeline = { pipeline, layout: layout.group };
    gpu.watch(
      device.popErrorScope().then((error) => {
        if (!error) return;
        result.failure = new Error(
          `webgpu: the shader of ${name} is not valid: ${error.message.trim()}\n${numbered(code)}`,
          { cause: error },
        );
        gpu.fail(result.failure);
      }),
    );
    return result;
  };

  return {
    get({ name, code: body, bindings }) {
      const accesses = bindings.map(({ access }) => access);
      const code = gpu.directives(body) + body;
      const key = `${accesses}\n${code}`;
      let pipeline = pipelines.get(key);
      if (!pipeline) pipelines.set(key, pipeline = compile(name, code, layoutOf(accesses)));
      return pipeline;
    },
  };
}

function numbered(code: string): string {
  const lines = code.trimEnd().split("\n");
  const width = String(lines.length).length;
  return lines.map((line, i) => `${String(i + 1).padStart(width)} | ${line}`).join("\n");
}
