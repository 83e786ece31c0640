/**
 * TensorBoard's event files: scalars and images by step.
 *
 * A file is a sequence of records, each a length (8 bytes), the length's checksum, a message `Event` in protocol
 * buffers, and its checksum (TensorFlow, `core/lib/io/record_writer.h`, `core/util/event.proto`,
 * `core/framework/summary.proto`). TensorBoard reads every file of a folder whose name has `tfevents` in it.
 */
// @ts-types="npm:crc-32@1.2.2"
import CRC32C from "npm:crc-32@1.2.2/crc32c.js";
import { PbfWriter } from "npm:pbf@5.1.2";

/** What is said of one tag: a number, or an image as PNG. */
export type EventValue =
  & { readonly tag: string }
  & ({ readonly scalar: number } | {
    readonly image: {
      readonly width: number;
      readonly height: number;
      readonly channels: 1 | 3 | 4;
      /** The content of a PNG file. */
      readonly png: Uint8Array;
    };
  });

/** What is said of one step. */
export interface StepEvent {
  /** Seconds since 1970. */
  readonly time: number;
  readonly step: number;
  readonly values: readonly EventValue[];
}

/**
 * The records that an event file begins with. They also tell a TensorBoard that watches the folder to forget what it
 * has read before, so that a log may be written anew.
 *
 * @param time Seconds since 1970.
 * @returns The bytes.
 */
export function eventFileHead(time: number): Uint8Array {
  const version = encodeRecord((event) => {
    event.writeDoubleField(1, time); // wall_time
    event.writeStringField(3, "brain.Event:2"); // file_version
  });
  const start = encodeRecord((event) => {
    event.writeDoubleField(1, time);
    event.writeVarintField(2, 0); // step
    event.writeMessage(7, (_, session) => session.writeVarintField(1, 1), null); // session_log.status = START
  });
  return join([version, start]);
}

/**
 * A record with the values of a step.
 *
 * @param event The step, its time and values.
 * @returns The bytes, to be appended to an event file.
 * @throws {RangeError} If the step is no whole number, or negative.
 *
 * @example
 * ```ts
 * import { encodeEvent, eventFileHead } from "./tfevents.ts";
 *
 * const folder = await Deno.makeTempDir();
 * const path = `${folder}/events.out.tfevents.1700000000.example`;
 * await Deno.writeFile(path, eventFileHead(1.7e9));
 * const event = { time: 1.7e9, step: 10, values: [{ tag: "loss", scalar: 2.5 }] };
 * await Deno.writeFile(path, encodeEvent(event), { append: true });
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export function encodeEvent({ time, step, values }: StepEvent): Uint8Array {
  if (!Number.isSafeInteger(step) || step < 0) {
    throw new RangeError(`encodeEvent: expected step to be a whole number but found ${step}`);
  }
  return encodeRecord((event) => {
    event.writeDoubleField(1, time);
    event.writeVarintField(2, step);
    event.writeMessage(5, writeSummary, values);
  });
}

function writeSummary(values: readonly EventValue[], summary: PbfWriter): void {
  for (const value of values) summary.writeMessage(1, writeValue, value);
}

function writeValue(value: EventValue, message: PbfWriter): void {
  message.writeStringField(1, value.tag);
  if ("scalar" in value) return message.writeFloatField(2, value.scalar); // simple_value
  message.writeMessage(4, ({ image: { width, height, channels, png } }, image) => {
    image.writeVarintField(1, height);
    image.writeVarintField(2, width);
    image.writeVarintField(3, channels); // colorspace: 1 gray, 3 RGB, 4 RGBA
    image.writeBytesField(4, png); // encoded_image_string
  }, value);
}

/** A message with its length and the checksums of both. */
function encodeRecord(write: (event: PbfWriter) => void): Uint8Array {
  const event = new PbfWriter();
  write(event);
  const message = event.finish();
  const record = new Uint8Array(message.length + 16);
  const view = new DataView(record.buffer);
  view.setBigUint64(0, BigInt(message.length), true);
  view.setUint32(8, maskedChecksum(record.subarray(0, 8)), true);
  record.set(message, 12);
  view.setUint32(12 + message.length, maskedChecksum(message), true);
  return record;
}

/** CRC-32C, rotated and shifted: a checksum of data that hold checksums themselves. */
function maskedChecksum(bytes: Uint8Array): number {
  const crc = CRC32C.buf(bytes) >>> 0;
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
