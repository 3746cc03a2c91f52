import { randomFillSync } from 'node:crypto';
import { v7 as uuidV7 } from 'uuid';

// Random bytes are fetched for many ids at a time: one by one, they took a tenth of an append.
const randomBytes = new Uint8Array(16 * 256);
let used = randomBytes.length;
let milliseconds = 0;
let sequence = 0;

/** A UUID of version 7. In one process, each is greater than the one before. */
export function newEventId(): string {
  if (used === randomBytes.length) {
    randomFillSync(randomBytes);
    used = 0;
  }
  const random = randomBytes.subarray(used, (used += 16));
  const now = Date.now();
  if (now > milliseconds) {
    milliseconds = now;
    // Half of the sequence is left to count in.
    sequence = ((random[6] ?? 0) & 0x7f) * 2 ** 24;
  } else {
    sequence += 1;
  }
  return uuidV7({ random, msecs: milliseconds, seq: sequence });
}
