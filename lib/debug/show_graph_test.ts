import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { testOnDevices } from "../../tests/devices.ts";
import { add, matmul, mul, sum } from "../../ops/mod.ts";
import { type Tensor, tensor } from "../tensor.ts";
import { jit, placeholder } from "../transforms/jit.ts";
import { valueAndGrad } from "../transforms/vjp.ts";
import { graphOf, graphToDot, showGraph } from "./show_graph.ts";

const scale = tensor([1, 2, 3, 4]);
const loss = ({ w }: { w: Tensor }, x: Tensor) => {
  add(x, 99); // no result needs it
  return sum(mul(matmul(x, w), scale));
};
const params = { w: placeholder([3, 4]) }, x = placeholder([2, 3]);

testOnDevices("a graph has what the results need, each op after its inputs", (device) => {
  const { compilations } = device.counters;
  const { nodes, results } = graphOf(loss, params, x);
  assertEquals(nodes.map(({ op, inputs, types }) => `${op}(${inputs}): ${types}`), [
    "matmul(argument 1,argument 0.w): f32[2, 4]",
    "broadcastTo(outside f32[4]): f32[2, 4]",
    "mul(%1,%2): f32[2, 4]",
    "sum(%3): f32[]",
  ]);
  assertEquals(nodes[3]!.attributes, "axes=[0,1]");
  assertMatch(nodes[0]!.at, /^lib\/debug\/show_graph_test\.ts:12:\d+$/);
  assertEquals(results, [["", "%4"]]);
  assertEquals(device.counters.compilations, compilations, "nothing was compiled");
}, ["wasm"]);

testOnDevices("a graph shows gradients, and what jitted functions are made of", () => {
  const { nodes, results } = graphOf(jit(valueAndGrad(loss)), params, x);
  assertEquals(nodes.filter(({ op }) => op === "matmul").length, 2);
  assertEquals(results.map(([path]) => path), ["0", "1.w"]);
  const text = showGraph(graphOf(jit(valueAndGrad(loss)), params, x));
  assertMatch(text, /^result +op +attributes +type +at\n%1 +matmul\(argument 1, argument 0\.w\) /);
  assertMatch(text, /\nresults: 0 = %\d+, 1\.w = %\d+$/);
}, ["reference"]);

testOnDevices("numbers stand where they are used", () => {
  const { nodes } = graphOf((x: Tensor) => mul(add(x, 1), 0.5), x);
  assertEquals(nodes.map(({ op, inputs }) => `${op}(${inputs})`), [
    "add(argument 0,1)",
    "mul(%1,0.5)",
  ]);
}, ["reference"]);

testOnDevices("the drawing of a graph has every op, argument, result and dependence", () => {
  const dot = graphToDot(graphOf(loss, params, x));
  assertMatch(dot, /^digraph graph \{\n[^]*\}\n$/);
  assertEquals(dot.match(/shape=box/g)?.length, 4);
  assertEquals(dot.match(/shape=ellipse/g)?.length, 4); // x, w, scale, the result
  assertEquals(dot.match(/ -> /g)?.length, 7);
}, ["reference"]);

testOnDevices("after an error nothing is recorded any more", () => {
  assertThrows(() => graphOf((x: Tensor) => matmul(x, x), x), TypeError, "matmul");
  const identity = graphOf((x: Tensor) => x, x);
  assertEquals(identity, { nodes: [], results: [["", "argument 0"]] });
  assertMatch(showGraph(identity), /results: argument 0$/);
}, ["reference"]);
