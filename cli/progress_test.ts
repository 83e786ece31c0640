import { assert, assertEquals } from "@std/assert";
import { type Facts, progressLine } from "./progress.ts";

const facts: Facts = {
  title: "Training the model",
  share: 0.25,
  count: "250/1000",
  left: "1:15 left",
  loss: "loss 2.345",
  rate: "10.0 steps/s",
};

Deno.test("a line of progress fits its terminal, and keeps what matters most", () => {
  for (let columns = 10; columns <= 120; columns++) {
    const line = progressLine(facts, columns);
    assert(line.length < columns, `${columns}: ${line}`);
    assert(line.includes("250/1000"));
  }
  const bar = (full: number, empty: number) => "█".repeat(full) + "░".repeat(empty);
  const text = "250/1000  1:15 left  loss 2.345  10.0 steps/s";
  assertEquals(progressLine(facts, 120), `Training the model     ${bar(7, 21)}  ${text}`);
  assertEquals(progressLine(facts, 80), `Training the model     ${bar(2, 7)}  ${text}`);
  assertEquals(progressLine(facts, 70), `Training the model  ${text}`);
  assertEquals(progressLine(facts, 50), text);
  assertEquals(progressLine(facts, 40), "250/1000  1:15 left  loss 2.345");
  assertEquals(progressLine(facts, 20), "250/1000  1:15 left");
});

Deno.test("what is not known takes no room", () => {
  const line = progressLine({ ...facts, share: 0, left: "", loss: "", rate: "" }, 120);
  assertEquals(line, `Training the model     ${"░".repeat(28)}  250/1000`);
});
