import { validate, version } from 'uuid';
import { describe, expect, it } from 'vitest';

import { newEventId } from './event-id.ts';

describe('newEventId', () => {
  const ids = Array.from({ length: 10_000 }, newEventId);

  it('makes UUIDs of version 7', () => {
    expect(ids.every((id) => validate(id) && version(id) === 7)).toBe(true);
  });

  it('makes each one greater than the one before', () => {
    expect(ids.toSorted()).toEqual(ids);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it('carries the time', () => {
    const milliseconds = Number.parseInt(newEventId().replaceAll('-', '').slice(0, 12), 16);
    expect(Math.abs(milliseconds - Date.now())).toBeLessThan(1_000);
  });
});
