/** Reads TensorBoard's event files, sharing nothing with what writes them, and checks their checksums. */
import protobuf from "npm:protobufjs@8.8.1";

/** From TensorFlow's event.proto and summary.proto. */
const { root } = protobuf.parse(`
  syntax = "proto3";
  message SessionLog {
    enum SessionStatus { STATUS_UNSPECIFIED = 0; START = 1; STOP = 2; CHECKPOINT = 3; }
    SessionStatus status = 1;
    string checkpoint_path = 2;
    string msg = 3;
  }
  message Summary {
    message Image {
      int32 height = 1;
      int32 width = 2;
      int32 colorspace = 3;
      bytes encoded_image_string = 4;
    }
    message Value {
      string node_name = 7;
      string tag = 1;
      oneof value { float simple_value = 2; Image image = 4; }
    }
    repeated Value value = 1;
  }
  message Event {
    double wall_time = 1;
    int64 step = 2;
    oneof what { string file_version = 3; Summary summary = 5; SessionLog session_log = 7; }
  }`);
const Event = root.lookupType("Event");

/** An event as its file has it. */
export interface FoundEvent {
  readonly wallTime: number;
  readonly step: number;
  readonly fileVersion?: string;
  readonly sessionLog?: { readonly status: string };
  readonly summary?: {
    readonly value: readonly {
      readonly tag: string;
      readonly simpleValue?: number;
      readonly image?: {
        readonly height: number;
        readonly width: number;
        readonly colorspace: number;
        readonly encodedImageString: Uint8Array;
      };
    }[];
  };
}

/**
 * Reads an event file.
 *
 * @throws {Error} If a record is cut off, or a checksum is wrong.
 */
export function readEvents(file: Uint8Array): FoundEvent[] {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const events: FoundEvent[] = [];
  const check = (bytes: Uint8Array, masked: number, at: number) => {
    const rotated = (masked - 0xa282ead8) >>> 0;
    const found = ((rotated >>> 17) | (rotated << 15)) >>> 0;
    if (found !== crc32c(bytes)) throw new Error(`readEvents: wrong checksum at byte ${at}`);
  };
  for (let at = 0; at < file.length;) {
    if (at + 12 > file.length) throw new Error(`readEvents: record cut off at byte ${at}`);
    const length = Number(view.getBigUint64(at, true));
    check(file.subarray(at, at + 8), view.getUint32(at + 8, true), at);
    if (at + length + 16 > file.length) throw new Error(`readEvents: record cut off at byte ${at}`);
    const message = file.subarray(at + 12, at + 12 + length);
    check(message, view.getUint32(at + 12 + length, true), at + 12);
    const options = { longs: Number, enums: String, defaults: true };
    events.push(Event.toObject(Event.decode(message), options) as FoundEvent);
    at += length + 16;
  }
  return events;
}

/** CRC-32C (Castagnoli), bit by bit. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return (crc ^ 0xffffffff) >>> 0;
}
